import '@tensorflow/tfjs-backend-cpu';
import '@whetstone/core/tfjs-gradients';
import * as tf from '@tensorflow/tfjs-core';
import type { Batch, BatchSource, Callback, Strategy } from '@whetstone/core/contract';
import { beforeAll, describe, expect, it } from 'vitest';
import { createRepetitionPenalty } from '../../packages/plugins/src/repetition-penalty/repetition-penalty.js';
import { disposeRun, shuffledSource, testRun, train, type TestRunOptions } from '../support/training.js';

beforeAll(() => tf.setBackend('cpu'));

const twoSteps = { maxSteps: 2 } as const;

/** Trains two steps, and returns the losses, the warnings and the error. */
async function outcome(
  options: TestRunOptions,
): Promise<{ readonly losses: readonly number[]; readonly warnings: readonly string[]; readonly error: unknown }> {
  const warnings: string[] = [];
  const run = testRun({ training: twoSteps, ...options, warn: (message) => warnings.push(message) });
  try {
    const { reports } = await train(run);
    return { losses: reports.map(({ loss }) => loss), warnings, error: null };
  } catch (error) {
    return { losses: [], warnings, error };
  } finally {
    disposeRun(run);
  }
}

describe('what a callback receives cannot be changed for others', () => {
  const evaluated = {
    training: { maxSteps: 2, evalStrategy: 'steps', evalSteps: 2 } as const,
    evalData: shuffledSource(4, 2, 9),
  };

  it.each<[string, Callback]>([
    ['onRunStart', { onRunStart: (run) => void Object.assign(run, { totalSteps: 9 }) }],
    ['onStep', { onStep: (report) => void Object.assign(report, { loss: 0 }) }],
    ['onStep', { onStep: ({ metrics }) => void Object.assign(metrics, { other: 0 }) }],
    ['onEvaluate', { onEvaluate: (report) => void Object.assign(report, { loss: 0 }) }],
    ['onRunEnd', { onRunEnd: (report) => void Object.assign(report, { steps: 0 }) }],
    [
      'transformGradients',
      {
        transformGradients: (gradients, context) => {
          Object.assign(context, { step: 7 });
          return gradients;
        },
      },
    ],
  ])('%s', async (hook, callback) => {
    expect((await outcome({ ...evaluated, callbacks: [callback] })).error).toMatchObject({
      code: 'HOOK_FAILED',
      details: { plugin: 'callback-0', hook },
    });
  });

  it('transformLogits and addLoss have copies of the targets, and transformBatch of the batch', async () => {
    const source = shuffledSource(12, 2);
    const ids = async (): Promise<number[][]> => {
      const all: number[][] = [];
      for await (const batch of source.epoch(0)) all.push([...batch.ids]);
      return all;
    };
    const before = await ids();
    const plain = await outcome({ trainData: source });
    const careless: Callback = {
      transformLogits: (logits, { targets, batch }) => {
        targets.fill(0);
        batch.ids.fill(0);
        return logits;
      },
    };
    const { losses, error } = await outcome({ trainData: source, callbacks: [careless] });
    expect(error).toBeNull();
    for (const [step, loss] of losses.entries()) expect(loss).toBeCloseTo(plain.losses[step] ?? NaN, 5);
    const writing: Callback = {
      transformBatch: (batch) => {
        batch.ids.fill(1);
        return batch;
      },
    };
    await outcome({ trainData: source, callbacks: [writing] });
    expect(await ids()).toEqual(before);
  });
});

describe('a loss term without a gradient is reported', () => {
  const constant = (plugin: string): string[] => [expect.stringContaining(`${plugin}' has no effect`) as string];
  const penalized = (penalty: () => tf.Scalar): Strategy => ({
    role: 'companion',
    attach: () => ({
      trainable: new Map(),
      penalty,
      saveState: () => ({ tensors: new Map(), values: null }),
      loadState: () => undefined,
      dispose: () => undefined,
    }),
  });

  it('of a callback', async () => {
    const callbacks: Callback[] = [{ addLoss: () => tf.scalar(3) }];
    expect((await outcome({ callbacks })).warnings).toEqual(constant("addLoss of 'callback-0"));
    const read: Callback = { addLoss: (logits) => tf.scalar(tf.mean(logits).dataSync()[0] ?? 0) };
    expect((await outcome({ callbacks: [read] })).warnings).toEqual(constant("addLoss of 'callback-0"));
    const differentiable: Callback = { addLoss: (logits) => tf.mean(tf.square(logits)) };
    expect((await outcome({ callbacks: [differentiable] })).warnings).toEqual([]);
  });

  it('but not if only the first terms are constant', async () => {
    let terms = 0;
    const later: Callback = { addLoss: (logits) => (terms++ < 1 ? tf.scalar(0) : tf.mean(tf.square(logits))) };
    expect((await outcome({ callbacks: [later] })).warnings).toEqual([]);
  });

  it('of a strategy', async () => {
    const companions = [penalized(() => tf.scalar(2))];
    expect((await outcome({ companions })).warnings).toEqual(constant("penalty of 'companion-0"));
  });

  it('of repetition-penalty, if no reply repeats an n-gram', async () => {
    const callbacks = [createRepetitionPenalty({ ngram: 40 })];
    expect((await outcome({ callbacks })).warnings).toEqual([
      "addLoss of 'callback-0' had no effect: it added no term to the loss of any step.",
    ]);
    expect((await outcome({ callbacks: [createRepetitionPenalty({})] })).warnings).toEqual([]);
  });
});

describe('a token or label beyond the vocabulary is an error with its row', () => {
  /** The second batch has `value` at the third token of its second row. */
  const broken = (array: 'ids' | 'labels', value: number): BatchSource => {
    const source = shuffledSource(12, 2);
    return {
      ...source,
      async *epoch(...inputs) {
        let number = 0;
        for await (const batch of source.epoch(...inputs)) {
          const changed: Batch = {
            ...batch,
            [array]: batch[array].slice(),
            origins: [0, 1].map((row) => ({ file: 'a.jsonl', line: 2 * number + row + 1, index: 2 * number + row })),
          };
          if (number++ === 1) changed[array][batch.length + 2] = value;
          yield changed;
        }
      },
    };
  };
  it.each([
    ['ids', 48],
    ['ids', -1],
    ['labels', 48],
    ['labels', -1],
  ] as const)('%s %i', async (array, value) => {
    const expected = { code: 'TOKENIZER_INVALID', place: { file: 'a.jsonl', line: 4 } };
    const { error } = await outcome({ trainData: broken(array, value) });
    expect(error).toMatchObject(expected);
    expect((error as Error & { found: string }).found).toContain(`${value} at token 2 of row 1`);
    const evaluation = { training: { maxSteps: 2, evalStrategy: 'steps', evalSteps: 2 } as const };
    expect((await outcome({ ...evaluation, evalData: broken(array, value) })).error).toMatchObject(expected);
  });
});

describe('weights for evaluation', () => {
  const training = { maxSteps: 2, evalStrategy: 'steps', evalSteps: 2 } as const;
  const name = 'lm_head.weight';

  it.each<[string, () => unknown, string]>([
    ['NaN', () => new Map([[name, tf.mul(tf.ones([48, 16]), NaN)]]), 'not finite'],
    ['Infinity', () => new Map([[name, tf.mul(tf.ones([48, 16]), Infinity)]]), 'not finite'],
    ['integers', () => new Map([[name, tf.zeros([48, 16], 'int32')]]), 'float32 tensor'],
    ['an array', () => new Map([[name, [1]]]), 'float32 tensor'],
    ['an object', () => ({ [name]: 1 }), 'instead of a Map'],
  ])('that are %s are refused', async (_, evaluationWeights, message) => {
    const callback = { onStep: () => undefined, evaluationWeights } as unknown as Callback;
    const { error } = await outcome({ training, evalData: shuffledSource(4, 2, 9), callbacks: [callback] });
    expect(error).toMatchObject({
      code: 'PLUGIN_FAILED',
      details: { plugin: 'callback-0' },
      message: expect.stringContaining(message) as string,
    });
    // Without an evaluation, they would be exported.
    expect((await outcome({ callbacks: [callback] })).error).toMatchObject({ code: 'PLUGIN_FAILED' });
  });
});
