import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { LoadedModel } from '@whetstone/core/contract';
import { generateIds, importGguf, loadModel } from '@whetstone/models';
import { testBackends, useBackend } from '../support/backend.js';
import { readGolden } from '../support/golden.js';
import { smollm2File, type SmolFixture } from '../support/smollm2.js';

// Losses and greedy replies of SmolLM2. Expected values: PyTorch and transformers. Runs only on fast backends.

const file = smollm2File();
const backend = (await testBackends()).find((name) => name !== 'cpu' && name !== 'wasm');
const fixture = readGolden<SmolFixture>('smollm2', 'golden.json');
if (file !== null && backend === undefined)
  console.warn(
    "The real model's numbers are not compared: only slow backends are there. Fetch a fast one with: npx " +
      'whetstone backend install cpu',
  );

// A few of each are compared by default; WHETSTONE_TEST_ALL=1 compares all.
const all = process.env['WHETSTONE_TEST_ALL'] === '1';
const conversations = fixture.conversations.filter((_, i) => all || i % 5 === 0);
const replies = fixture.greedy.filter((_, i) => all || i < 2);

describe.skipIf(file === null || backend === undefined)('SmolLM2-135M-Instruct', () => {
  let folder: string;
  let loaded: LoadedModel;
  beforeAll(async () => {
    await useBackend(backend ?? 'cpu');
    folder = await mkdtemp(join(tmpdir(), 'whetstone-smollm2-'));
    await importGguf(file ?? '', join(folder, 'model'));
    loaded = await loadModel(join(folder, 'model'));
  });
  afterAll(async () => {
    loaded.model.dispose();
    await rm(folder, { recursive: true, force: true });
  });

  // All conversations are padded to the same length, so that compiling backends compile only once.
  const padded = Math.max(...conversations.map(({ ids }) => ids.length));

  /** Returns the mean negative log likelihood of the labels that are not ignored. */
  function losses(
    ids: readonly number[],
    labels: readonly number[],
  ): { readonly assistant: number; readonly all: number; readonly last: Float32Array } {
    const length = ids.length;
    const fill = (value: (at: number) => number): Int32Array =>
      Int32Array.from({ length: padded }, (_, at) => (at < length ? value(at) : 0));
    // Read outside of tidy: inside, all intermediate tensors are still alive, and a lazy backend would compute each.
    const logits = tf.tidy(() => {
      const input = {
        rows: 1,
        length: padded,
        ids: fill((at) => ids[at] ?? 0),
        segmentIds: fill(() => 1),
        positionIds: fill((at) => at),
      };
      return loaded.model.head(loaded.model.hiddenStates(input, 'all'));
    });
    const scores = logits.dataSync() as Float32Array;
    logits.dispose();
    const vocabulary = loaded.model.vocabularySize;
    const sums = { assistant: 0, all: 0, targets: 0 };
    for (let i = 0; i + 1 < length; i++) {
      const row = scores.subarray(i * vocabulary, (i + 1) * vocabulary);
      let most = -Infinity;
      for (let id = 0; id < vocabulary; id++) most = Math.max(most, row[id] ?? 0);
      let sum = 0;
      for (let id = 0; id < vocabulary; id++) sum += Math.exp((row[id] ?? 0) - most);
      const loss = most + Math.log(sum) - (row[ids[i + 1] ?? 0] ?? 0);
      sums.all += loss;
      if (labels[i + 1] !== -100) {
        sums.assistant += loss;
        sums.targets++;
      }
    }
    return {
      assistant: sums.assistant / sums.targets,
      all: sums.all / (length - 1),
      last: scores.slice((length - 1) * vocabulary, length * vocabulary),
    };
  }

  it.each(conversations.map((conversation) => [conversation.text.slice(-60), conversation] as const))(
    'has the losses of …%j',
    (_, conversation) => {
      const { assistant, all, last } = losses(conversation.ids, conversation.labels);
      expect(Math.abs(assistant - conversation.assistant_loss_mean)).toBeLessThanOrEqual(fixture.tolerance.loss_abs);
      expect(Math.abs(all - conversation.all_token_loss_mean)).toBeLessThanOrEqual(fixture.tolerance.loss_abs);
      for (const [id, score] of conversation.last_position_top5)
        expect(Math.abs((last[id] ?? NaN) - score)).toBeLessThanOrEqual(fixture.tolerance.logit_abs);
    },
  );

  it.each(replies.map((reply) => [reply.prompt, reply] as const))(
    'replies to %j',
    async (_, { prompt, prompt_ids, new_ids, text, min_top2_margin }) => {
      const { model, tokenizer, renderer } = loaded;
      const ids = tokenizer.encode(renderer.renderPrompt([{ role: 'user', content: prompt }]));
      expect(ids).toEqual(prompt_ids);
      if (min_top2_margin <= 1e-2) return;
      const written: number[] = [];
      for await (const { id } of generateIds(model, [ids], { maxNewTokens: 24, stopTokenIds: renderer.stopTokenIds }))
        written.push(id);
      expect(written).toEqual(new_ids);
      expect(tokenizer.decode(written, { skipSpecialTokens: true })).toBe(text);
    },
  );
});
