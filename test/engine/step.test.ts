import '@tensorflow/tfjs-backend-cpu';
import '@whetstone/core/tfjs-gradients';
import * as tf from '@tensorflow/tfjs-core';
import { singleProcess } from '@whetstone/core/distributed';
import { trainStep, type StepOutcome } from '@whetstone/core/training';
import { createHookRunner } from '@whetstone/core/hooks';
import { createAdamW } from '@whetstone/core/optimizers';
import type { Attachment, Batch, Callback, LanguageModel } from '@whetstone/core/contract';
import { fullStrategy } from '../../packages/strategies/src/full/full.js';
import { loraStrategy } from '../../packages/strategies/src/lora/lora.js';
import { beforeAll, describe, expect, it } from 'vitest';
import { batchOf, randomRows, type Row } from '@whetstone/testing';
import { difference } from '../support/tensors.js';
import { tinyLlama, tinyModel } from '../support/training.js';

beforeAll(() => tf.setBackend('cpu'));

interface Result {
  readonly outcome: StepOutcome;
  readonly gradients: ReadonlyMap<string, Float32Array>;
}

/** Executes one step with a learning rate of 0, and returns its gradients. */
async function stepOver(
  batches: readonly Batch[],
  callbacks: readonly Callback[] = [],
  strategy = fullStrategy(),
): Promise<Result> {
  const model = tinyModel();
  const gradients = new Map<string, Float32Array>();
  const spy: Callback = {
    transformGradients: (given) => {
      for (const [name, gradient] of given) gradients.set(name, gradient.dataSync().slice() as Float32Array);
      return given;
    },
  };
  const owner = await strategy.attach(model, { seed: 1, totalSteps: 1, modelFolder: null });
  const optimizer = createAdamW({ weightDecay: 0, adamBeta1: 0.9, adamBeta2: 0.999, adamEpsilon: 1e-8 });
  const hooks = createHookRunner(
    [...callbacks, spy].map((callback, index) => ({ plugin: `callback-${index}`, callback })),
  );
  const outcome = await trainStep(
    { model, owner, companions: [], sync: singleProcess, hooks, optimizer, backend: { barrier: () => undefined } },
    batches,
    0,
    0,
  );
  for (const item of [owner, optimizer, model]) item.dispose();
  return { outcome, gradients };
}

function expectSame(actual: Result, expected: Result): void {
  expect(actual.outcome.supervisedTokens).toBe(expected.outcome.supervisedTokens);
  expect(actual.outcome.loss).toBeCloseTo(expected.outcome.loss, 5);
  expect([...actual.gradients.keys()]).toEqual([...expected.gradients.keys()]);
  for (const [name, gradient] of expected.gradients)
    expect(difference(actual.gradients.get(name) ?? [], gradient).largest, name).toBeLessThan(2e-6);
}

const grouped = (rows: readonly Row[], size: number): Batch[] =>
  Array.from({ length: Math.ceil(rows.length / size) }, (_, index) =>
    batchOf(rows.slice(index * size, (index + 1) * size)),
  );

/** Packs all rows into a single one, as segments. */
function packed(rows: readonly Row[]): Batch {
  const parts = rows.map((row) => batchOf([row]));
  const join = (of: (batch: Batch, index: number) => Int32Array): Int32Array =>
    Int32Array.from(parts.flatMap((part, index) => Array.from(of(part, index))));
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  return {
    rows: 1,
    length,
    ids: join(({ ids }) => ids),
    labels: join(({ labels }) => labels),
    positionIds: join(({ positionIds }) => positionIds),
    segmentIds: join(({ segmentIds }, index) => segmentIds.map(() => index + 1)),
    samples: rows.length,
    tokens: length,
    supervisedTokens: parts.reduce((sum, part) => sum + part.supervisedTokens, 0),
  };
}

describe('the gradients of a step', () => {
  const rows = randomRows(8, tinyLlama.vocab_size, 5);

  it('are the same for 1×8, 2×4, 4×2 and 8×1 microbatches', async () => {
    const single = await stepOver(grouped(rows, 8));
    for (const size of [4, 2, 1]) expectSame(await stepOver(grouped(rows, size)), single);
  });

  it('are the same if the last microbatch is smaller', async () => {
    expectSame(await stepOver(grouped(rows, 3)), await stepOver(grouped(rows, 8)));
  });

  it('are the same for padded and packed batches, also if a segment starts with a label', async () => {
    const supervisedThroughout = rows.map(({ ids }) => ({ ids, supervised: ids.map(() => true) }));
    for (const each of [rows, supervisedThroughout]) {
      const padded = await stepOver(grouped(each, 8));
      expectSame(await stepOver([packed(each)]), padded);
      expectSame(await stepOver([packed(each.slice(0, 5)), packed(each.slice(5))]), padded);
    }
  });

  it('weight terms that callbacks add to the loss like the loss', async () => {
    // The mean squared logit of the supervised positions: a mean over tokens, like the loss.
    const addLoss: Callback = { addLoss: (logits) => tf.mean(tf.square(logits)) };
    const single = await stepOver(grouped(rows, 8), [addLoss]);
    for (const size of [4, 3, 1]) expectSame(await stepOver(grouped(rows, size), [addLoss]), single);
    expect(
      difference(
        single.gradients.get('lm_head.weight') ?? [],
        (await stepOver(grouped(rows, 8))).gradients.get('lm_head.weight') ?? [],
      ).largest,
    ).toBeGreaterThan(1e-3);
  });

  it('are those of the transformed logits', async () => {
    const halve: Callback = { transformLogits: (logits) => tf.mul(logits, 0.5) };
    const same: Callback = { transformLogits: (logits) => logits };
    expectSame(await stepOver(grouped(rows, 4), [same]), await stepOver(grouped(rows, 4)));
    expect((await stepOver(grouped(rows, 4), [halve])).outcome.loss).not.toBeCloseTo(
      (await stepOver(grouped(rows, 4))).outcome.loss,
      3,
    );
  });

  describe('with weights of turns', () => {
    /** Sets the weights 2, 0.5, 1, … by row. */
    const factors = rows.map((_, index) => [2, 0.5, 1][index % 3] ?? 1);
    const weighted = (batch: Batch, first: number): Batch => ({
      ...batch,
      weights: Float32Array.from(
        { length: batch.rows * batch.length },
        (_, at) => factors[first + Math.floor(at / batch.length)] ?? 1,
      ),
    });
    const inGroups = (size: number): Batch[] =>
      grouped(rows, size).map((batch, index) => weighted(batch, index * size));
    const unchanged: Callback = { transformLogits: (logits) => logits };

    it('are Σ weight · gradient ÷ Σ weight over all targets of the step', async () => {
      // Computed from steps of one row, whose loss is the mean of the row: row r has weight weight(r) · targets(r).
      const byRow = await Promise.all(rows.map((row) => stepOver([batchOf([row])])));
      const shares = byRow.map(({ outcome }, row) => (factors[row] ?? 1) * outcome.supervisedTokens);
      const divisor = shares.reduce((sum, share) => sum + share, 0);
      const mean = (of: (result: Result) => number): number =>
        byRow.reduce((sum, result, row) => sum + ((shares[row] ?? 0) * of(result)) / divisor, 0);
      const combined = await stepOver(inGroups(8));
      expect(combined.outcome.loss).toBeCloseTo(
        mean(({ outcome }) => outcome.loss),
        5,
      );
      for (const [name, gradient] of combined.gradients) {
        const expected = Array.from(gradient, (_, at) => mean((result) => result.gradients.get(name)?.[at] ?? NaN));
        expect(difference(gradient, expected).largest, name).toBeLessThan(2e-6);
      }
      expect(combined.outcome.loss).not.toBeCloseTo((await stepOver(grouped(rows, 8))).outcome.loss, 3);
    });

    it('are the same for any microbatches, packed, and through transformed logits', async () => {
      const combined = await stepOver(inGroups(8));
      for (const size of [4, 3, 1]) expectSame(await stepOver(inGroups(size)), combined);
      expectSame(await stepOver(inGroups(4), [unchanged]), combined);
      const lengths = rows.map(({ ids }) => ids.length);
      const weights = Float32Array.from(
        lengths.flatMap((length, row) => Array.from({ length }, () => factors[row] ?? 1)),
      );
      expectSame(await stepOver([{ ...packed(rows), weights }]), combined);
    });

    it('are the same as without weights if all weights are equal', async () => {
      const halves = grouped(rows, 4).map((batch) => ({
        ...batch,
        weights: new Float32Array(batch.rows * batch.length).fill(0.5),
      }));
      expectSame(await stepOver(halves), await stepOver(grouped(rows, 4)));
    });
  });

  it('include a penalty once per step for any microbatches', async () => {
    const penalised = (): ReturnType<typeof fullStrategy> => ({
      role: 'owner',
      attach: async (model: LanguageModel, run) => {
        const attachment: Attachment = await fullStrategy().attach(model, run);
        const head = model.parameters.get('lm_head.weight');
        return { ...attachment, penalty: () => tf.sum(tf.square(head ?? tf.scalar(0))) as tf.Scalar };
      },
    });
    const plain = await stepOver(grouped(rows, 8));
    const single = await stepOver(grouped(rows, 8), [], penalised());
    expectSame(await stepOver(grouped(rows, 2), [], penalised()), single);
    expect(single.outcome.loss).toBeCloseTo(plain.outcome.loss, 6);
    // d/dw w² = 2w.
    const model = tinyModel();
    const weights = model.parameters.get('lm_head.weight')?.dataSync() ?? [];
    const expected = Array.from(
      plain.gradients.get('lm_head.weight') ?? [],
      (value, index) => value + 2 * (weights[index] ?? NaN),
    );
    expect(difference(single.gradients.get('lm_head.weight') ?? [], expected).largest).toBeLessThan(1e-5);
    model.dispose();
  });
});

describe('a step', () => {
  const rows = randomRows(4, tinyLlama.vocab_size, 6);

  const silent = batchOf(rows.map(({ ids }) => ({ ids, supervised: ids.map((_, column) => column === 0) })));

  it('may have a microbatch without targets, which changes nothing', async () => {
    const alone = await stepOver([batchOf(rows)]);
    for (const batches of [
      [silent, batchOf(rows)],
      [batchOf(rows), silent],
    ])
      expectSame(await stepOver(batches), alone);
  });

  it('without a target is rejected, with the origins of its conversations', async () => {
    const origins = [{ file: 'train.jsonl', line: 7, index: 6 }];
    await expect(stepOver([silent, { ...silent, origins }])).rejects.toMatchObject({
      code: 'DATA_NOTHING_TO_LEARN',
      problems: [{ place: { file: 'train.jsonl', line: 7 } }],
    });
  });

  it('changes nothing if a gradient is not finite', async () => {
    const spoil: Callback = {
      transformGradients: (gradients) =>
        new Map(
          [...gradients].map(([name, gradient]) => [
            name,
            name === 'model.norm.weight' ? tf.mul(gradient, NaN) : gradient,
          ]),
        ),
    };
    await expect(stepOver([batchOf(rows)], [spoil])).rejects.toMatchObject({
      code: 'NON_FINITE',
      details: { step: 1 },
    });
  });

  it('skips the update if a callback requests it', async () => {
    const model = tinyModel();
    const owner = await fullStrategy().attach(model, { seed: 1, totalSteps: 1, modelFolder: null });
    const optimizer = createAdamW({ weightDecay: 0, adamBeta1: 0.9, adamBeta2: 0.999, adamEpsilon: 1e-8 });
    const callback: Callback = {
      transformGradients: (gradients, _, control) => {
        control.skipUpdate('not today');
        return new Map([...gradients].map(([name, gradient]) => [name, tf.mul(gradient, NaN)]));
      },
    };
    const hooks = createHookRunner([{ plugin: 'skipper', callback }]);
    const before = model.parameters.get('lm_head.weight')?.dataSync().slice() ?? [];
    const outcome = await trainStep(
      { model, owner, companions: [], sync: singleProcess, hooks, optimizer, backend: { barrier: () => undefined } },
      [batchOf(rows)],
      0,
      0.1,
    );
    expect(outcome.updated).toBe(false);
    expect(difference(model.parameters.get('lm_head.weight')?.dataSync() ?? [], before).largest).toBe(0);
    for (const item of [owner, optimizer, model]) item.dispose();
  });

  it.each<[string, Callback]>([
    [
      'addLoss',
      {
        addLoss: () => {
          throw new Error('no luck');
        },
      },
    ],
    [
      'transformGradients',
      {
        transformGradients: () => {
          throw new Error('no luck');
        },
      },
    ],
    [
      'transformBatch',
      {
        transformBatch: () => {
          throw new Error('no luck');
        },
      },
    ],
  ])('leaks no tensor if %s fails', async (hook, callback) => {
    const model = tinyModel();
    const owner = await fullStrategy().attach(model, { seed: 1, totalSteps: 1, modelFolder: null });
    const optimizer = createAdamW({ weightDecay: 0, adamBeta1: 0.9, adamBeta2: 0.999, adamEpsilon: 1e-8 });
    const hooks = createHookRunner([{ plugin: 'unlucky', callback }]);
    // The moments belong to the optimizer and remain.
    optimizer.prepare?.(owner.trainable);
    const before = tf.memory().numTensors;
    const step = trainStep(
      { model, owner, companions: [], sync: singleProcess, hooks, optimizer, backend: { barrier: () => undefined } },
      grouped(rows, 2),
      0,
      0.1,
    );
    await expect(step).rejects.toMatchObject({ code: 'HOOK_FAILED', details: { plugin: 'unlucky', hook } });
    expect(tf.memory().numTensors).toBe(before);
    for (const item of [owner, optimizer, model]) item.dispose();
  });

  it.each([
    ['full', () => fullStrategy()],
    ['lora', () => loraStrategy({ rank: 2 })],
  ])('leaks no tensor (%s)', async (_, strategy) => {
    const model = tinyModel();
    const owner = await strategy().attach(model, { seed: 1, totalSteps: 9, modelFolder: null });
    const optimizer = createAdamW({ weightDecay: 0.1, adamBeta1: 0.9, adamBeta2: 0.999, adamEpsilon: 1e-8 });
    const callback: Callback = {
      addLoss: (logits, { record }) => {
        const term = tf.mean(tf.square(logits)) as tf.Scalar;
        record('term', term);
        return term;
      },
      transformGradients: (gradients, { record }) => {
        record('norm', tf.norm(tf.stack([...gradients.values()].map((gradient) => tf.sum(gradient)))) as tf.Scalar);
        return new Map(
          [...gradients].map(([name, gradient], index) => [name, index === 0 ? tf.mul(gradient, 2) : gradient]),
        );
      },
    };
    const hooks = createHookRunner([{ plugin: 'recorder', callback }]);
    const parts = {
      model,
      owner,
      companions: [],
      sync: singleProcess,
      hooks,
      optimizer,
      backend: { barrier: () => undefined },
    };
    const step = (index: number): Promise<StepOutcome> => trainStep(parts, grouped(rows, 2), index, 0.01);
    const first = await step(0);
    expect(Object.keys(first.metrics).toSorted()).toEqual(['norm', 'term']);
    // The first step created the optimizer's moments.
    const before = tf.memory();
    for (let index = 1; index < 4; index++) await step(index);
    expect(tf.memory().numTensors).toBe(before.numTensors);
    expect(tf.memory().numDataBuffers).toBe(before.numDataBuffers);
    for (const item of [owner, optimizer, model]) item.dispose();
  });
});
