import '@whetstone/core/tfjs-gradients';
import { join } from 'node:path';
import { memory, softmax, tidy, type Tensor2D } from '@tensorflow/tfjs-core';
import type { LoadedModel } from '@whetstone/core/contract';
import { generateIds } from '@whetstone/models';
import { createRepetitionPenalty } from '../packages/plugins/src/repetition-penalty/repetition-penalty.js';
import { batchOf, batchSourceOf, randomRows } from '@whetstone/testing';
import { beforeAll, describe, expect, it } from 'vitest';
import { promptsOf, repeatedTokens } from '../packages/plugins/src/repetition-penalty/candidates.js';
import { greedyReplies } from '../packages/plugins/src/repetition-penalty/greedy-replies.js';
import { createOwnReplies } from '../packages/plugins/src/repetition-penalty/own-replies.js';
import { useBackend } from './support/backend.js';
import { temporaryFolder } from './support/temporary-folder.js';
import { disposeRun, loadedOf, testRun, tinyModel, train, valuesOf } from './support/training.js';

const defaults: Parameters<typeof createOwnReplies>[0] = {
  weight: 1,
  ngram: 2,
  maxNewTokens: 12,
  pool: 3,
  everySteps: 2,
  perMicrobatch: 2,
  prompts: null,
};

beforeAll(async () => void (await useBackend('cpu')));

describe("the model's own replies", () => {
  it('are asked what stands before the learned tokens, of each conversation', () => {
    const [ids, no] = [[1, 2, 3, 4, 5, 6, 7, 0], -100];
    const batch = {
      rows: 1,
      length: 8,
      ids: Int32Array.from(ids),
      labels: Int32Array.from([no, no, 3, 4, no, 6, 7, no]),
      segmentIds: Int32Array.of(1, 1, 1, 1, 2, 2, 2, 0),
    };
    expect(promptsOf(batch, no)).toEqual([[1, 2], [5]]);
  });

  it('repeat the tokens of n-grams that stood there before', () => {
    // 1 2 3 comes twice; the 4 between belongs to nothing that came before.
    expect(repeatedTokens([1, 2, 3, 4, 1, 2, 3], 3)).toEqual([false, false, false, false, true, true, true]);
    expect(repeatedTokens([7, 7, 7, 7], 2)).toEqual([false, true, true, true]);
    expect(repeatedTokens([1, 2], 3)).toEqual([false, false]);
  });

  it('are those that generation gives', async () => {
    const model = tinyModel(2);
    const before = memory().numTensors;
    const prompts = [[1, 5, 9], [3], [7, 8, 2, 4, 6]];
    const plain = prompts.map((): number[] => []);
    for await (const { row, id } of generateIds(model, prompts, { maxNewTokens: 9 })) plain[row]?.push(id);
    expect(await greedyReplies(model, prompts, { maxNewTokens: 9, stopTokenIds: [] })).toEqual(plain);
    const stop = plain[0]?.[3] ?? 0;
    expect(await greedyReplies(model, prompts, { maxNewTokens: 9, stopTokenIds: [stop] })).toEqual(
      plain.map((reply) => (reply.includes(stop) ? reply.slice(0, reply.indexOf(stop)) : reply)),
    );
    // A prompt as long as the context is continued by nothing, and holds up nobody.
    const long = Array.from({ length: model.maxLength }, () => 3);
    expect(await greedyReplies(model, [long, [1, 5, 9]], { maxNewTokens: 9, stopTokenIds: [] })).toEqual([
      [],
      plain[0],
    ]);
    expect(memory().numTensors).toBe(before);
    model.dispose();
  });

  it('cost the mean of −log(1 − p) of what they repeat', () => {
    const model = tinyModel(2);
    const replies = [
      { prompt: [1, 5], reply: [9, 4, 9, 4, 2] },
      { prompt: [3, 8, 6], reply: [7, 10, 11] },
    ];
    const own = createOwnReplies(defaults);
    own.start(loadedOf(model));
    own.loadState({ seen: [], replies });
    // Of the first reply the second 9 4 is old; the second repeats nothing, and counts with its tokens alone.
    const text = [1, 5, 9, 4, 9, 4, 2];
    const batch = batchOf([{ ids: text, supervised: text.map(() => true) }]);
    const expected = tidy(() => {
      const probabilities = softmax(model.logits(batch, 'all')) as Tensor2D;
      const at = (position: number): number => probabilities.arraySync()[position]?.[text[position + 1] ?? 0] ?? NaN;
      return (-Math.log(1 - at(3)) - Math.log(1 - at(4))) / (5 + 3);
    });
    const before = memory().numTensors;
    expect(tidy(() => own.term()?.dataSync()[0])).toBeCloseTo(expected, 5);
    expect(memory().numTensors).toBe(before);
    // One of four bigrams is old, and none of two.
    expect(own.rate).toBeCloseTo(1 / 8, 12);
    model.dispose();
  });

  it('are learned from in a run, and a resumed run learns from the same', async () => {
    const folder = await temporaryFolder();
    const rows = randomRows(8, 48, 3);
    const run = (name: string, resumeFromCheckpoint: string | null) =>
      testRun({
        model: tinyModel(2),
        trainData: batchSourceOf(rows, 2),
        outputFolder: join(folder, name),
        learningRate: 0.02,
        callbacks: [
          createRepetitionPenalty({ unlikelihood: 0, generated: { ...defaults, everySteps: 3, maxNewTokens: 16 } }),
        ],
        training: {
          maxSteps: 6,
          gradientAccumulationSteps: 2,
          numTrainEpochs: 4,
          saveStrategy: 'steps',
          saveSteps: 4,
          resumeFromCheckpoint,
        },
      });
    const straight = run('straight', null);
    const before = await train(straight);
    expect(before.reports[0]?.metrics).not.toHaveProperty('ownRepetition');
    for (const { metrics } of before.reports.slice(1)) expect(metrics['ownRepetition']).toBeGreaterThanOrEqual(0);
    expect(before.reports.some(({ metrics }) => (metrics['ownUnlikelihood'] ?? 0) > 0)).toBe(true);
    const resumed = run('resumed', join(folder, 'straight', 'checkpoint-4'));
    const after = await train(resumed);
    expect(after.reports.map(({ loss, metrics }) => [loss, metrics])).toEqual(
      before.reports.slice(4).map(({ loss, metrics }) => [loss, metrics]),
    );
    expect(await valuesOf(resumed.loaded.model)).toEqual(await valuesOf(straight.loaded.model));
    for (const each of [straight, resumed]) disposeRun(each);
  });

  it('are asked what the options say, rendered as the model is asked', async () => {
    const model = tinyModel(2);
    const asked: string[] = [];
    const base = loadedOf(model);
    const loaded: LoadedModel = {
      ...base,
      tokenizer: { ...base.tokenizer, encode: (text) => [...text].map((character) => character.charCodeAt(0) % 48) },
      renderer: {
        ...base.renderer,
        renderPrompt: (messages) => (asked.push(JSON.stringify(messages)), `<${String(messages[0]?.content)}>`),
      },
    };
    const own = createOwnReplies({ ...defaults, prompts: ['one', 'two', 'three', 'four'] });
    own.start(loaded);
    await own.prepare(1);
    expect(asked).toEqual(
      ['one', 'two', 'three', 'four'].map((content) => JSON.stringify([{ role: 'user', content }])),
    );
    const promptsNow = (): string[] =>
      (own.saveState() as { readonly replies: readonly { readonly prompt: readonly number[] }[] }).replies.map(
        ({ prompt }) => prompt.join(' '),
      );
    const [first = '', , third] = promptsNow();
    expect(promptsNow()).toHaveLength(3);
    await own.prepare(2);
    expect(promptsNow()[0], 'not due').toBe(first);
    await own.prepare(3);
    // The next three of four: the last, and the first two again.
    expect(promptsNow()[1]).toBe(first);
    expect(promptsNow()).not.toContain(third);
    model.dispose();
  });
});
