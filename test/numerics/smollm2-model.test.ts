import { existsSync } from 'node:fs';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { cacheFolder, findTensorflow } from '@whetstone/backend';
import { generateIds, loadLanguageModel } from '@whetstone/models';
import type { LanguageModel } from '@whetstone/core/contract';
import { readGolden } from '../support/golden.js';
import { useBackend } from '../support/backend.js';

/** The real model against transformers: losses of real conversations and greedy replies. */
interface SmolFixture {
  readonly conversations: {
    readonly source: string; readonly ids: number[]; readonly labels: number[]; readonly target_tokens: number;
    readonly assistant_loss_mean: number; readonly all_token_loss_mean: number; readonly last_position_top5: [number, number][];
  }[];
  readonly greedy: { readonly prompt: string; readonly prompt_ids: number[]; readonly new_ids: number[]; readonly min_top2_margin: number }[];
  readonly tolerance: { readonly loss_abs: number; readonly logit_abs: number };
}

const folder = join(cacheFolder(), 'models', 'smollm2-135m');
const library = await findTensorflow();
const missing = [
  ...(existsSync(join(folder, 'config.json')) ? [] : ['the real model (npx whetstone model fetch smollm2-135m)']),
  ...('folder' in library ? [] : ['libtensorflow (npx whetstone backend install cpu)']),
];
if (missing.length > 0) console.warn(`SmolLM2 is not compared with transformers: missing ${missing.join(' and ')}.`);

/** The fixture's weights went through bfloat16: the nearest such number, ties to even. */
function roundToBfloat16(values: Float32Array): Float32Array {
  const bits = new Uint32Array(values.slice().buffer);
  for (let i = 0; i < bits.length; i++) {
    const value = bits[i] ?? 0;
    bits[i] = (value + 0x7fff + ((value >>> 16) & 1)) & 0xffff0000;
  }
  return new Float32Array(bits.buffer);
}

describe.skipIf(missing.length > 0)('SmolLM2-135M-Instruct equals transformers', () => {
  const fixture = readGolden<SmolFixture>('smollm2', 'golden.json');
  let model: LanguageModel;
  beforeAll(async () => {
    await useBackend('whetstone');
    model = await loadLanguageModel(folder);
    for (const variable of model.parameters.values()) {
      const rounded = tf.tensor(roundToBfloat16(await variable.data<'float32'>()), variable.shape);
      variable.assign(rounded);
      rounded.dispose();
    }
  });
  afterAll(() => model?.dispose());

  it('in losses and last logits', async () => {
    for (const { source, ids, labels, target_tokens: targetTokens, ...expected } of fixture.conversations) {
      const length = ids.length;
      const logits = tf.tidy(() => model.logits({
        rows: 1, length, ids: Int32Array.from(ids), segmentIds: new Int32Array(length).fill(1), positionIds: Int32Array.from({ length }, (_, at) => at),
      }, 'all'));
      const losses = tf.tidy(() => {
        const chosen = tf.gatherND(tf.logSoftmax(logits), tf.tensor2d(ids.slice(1).flatMap((id, at) => [at, id]), [length - 1, 2], 'int32'));
        return tf.neg(chosen);
      });
      const values = await losses.data<'float32'>();
      const last = (await logits.data<'float32'>()).subarray((length - 1) * model.vocabularySize);
      tf.dispose([losses, logits]);
      const mean = (numbers: readonly number[]): number => numbers.reduce((sum, number) => sum + number, 0) / numbers.length;
      const assistant = [...values].filter((_, at) => labels[at + 1] !== -100);
      expect(assistant.length, source).toBe(targetTokens);
      expect(Math.abs(mean(assistant) - expected.assistant_loss_mean), source).toBeLessThanOrEqual(fixture.tolerance.loss_abs);
      expect(Math.abs(mean([...values]) - expected.all_token_loss_mean), source).toBeLessThanOrEqual(fixture.tolerance.loss_abs);
      for (const [id, logit] of expected.last_position_top5) expect(Math.abs((last[id] ?? NaN) - logit), source).toBeLessThanOrEqual(fixture.tolerance.logit_abs);
    }
  });

  it('in greedy replies, in one batch', async () => {
    const replies = fixture.greedy.map((): number[] => []);
    const maxNewTokens = Math.max(...fixture.greedy.map(({ new_ids: ids }) => ids.length));
    const prompts = fixture.greedy.map(({ prompt_ids: ids }) => ids);
    for await (const { row, id } of generateIds(model, prompts, { maxNewTokens, stopTokenIds: [2] })) replies[row]?.push(id);
    for (const [row, golden] of fixture.greedy.entries()) {
      if (golden.min_top2_margin > 1e-2) expect(replies[row], golden.prompt).toEqual(golden.new_ids);
    }
  });
});
