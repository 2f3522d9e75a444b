import { randomUniform, tensor, tidy, type Tensor, type Tensor2D } from '@tensorflow/tfjs-core';
import { expect } from 'vitest';
import type {
  Batch,
  Callback,
  Hook,
  HookName,
  HookSignatures,
  LoadedModel,
  MicrobatchContext,
  StartingRun,
  StepContext,
} from '@whetstone/core/contract';
import { batchOf, randomRows, supervisedOf } from './batches.js';
import { evaluationReport, recordControl, stepReport, type RecordedControl } from './callback-reports.js';
import type { DescribeCallbackOptions } from './callback-subject.js';

/** Returns the function of a hook, whether it stands alone or with an order. */
export function hookOf<K extends HookName>(callback: Callback, name: K): HookSignatures[K] | undefined {
  const hook = callback[name] as Hook<HookSignatures[K]> | undefined;
  if (hook === undefined || typeof hook === 'function') return hook;
  return hook.handler;
}

/** The argument of `onRunStart`. */
export const startOf = (folder: string | null, loaded: LoadedModel | undefined): StartingRun => ({
  totalSteps: 3,
  epochs: 1,
  startStep: 0,
  outputFolder: folder,
  backend: 'cpu',
  engine: 'cpu',
  trainableParameters: 6,
  totalParameters: 10,
  ...(loaded === undefined ? {} : { loaded }),
});

/**
 * Calls the hooks of one microbatch with random logits; fails if a result has the wrong shape. Returns the batch, the
 * values of the logits, and the added loss as text.
 */
function playMicrobatch(
  callback: Callback,
  original: Batch,
  context: StepContext,
  vocabularySize: number,
): readonly string[] {
  const untouched = structuredClone(original);
  const batch = hookOf(callback, 'transformBatch')?.(original, context) ?? original;
  expect(original, 'the batch that transformBatch was given').toEqual(untouched);
  for (const key of ['ids', 'labels', 'segmentIds', 'positionIds'] as const)
    expect(batch[key].length, `length of ${key} from transformBatch`).toBe(batch.rows * batch.length);
  const supervised = supervisedOf(batch);
  const microbatch: MicrobatchContext = { ...context, ...supervised, batch };
  const logits = randomUniform(
    [supervised.targets.length, vocabularySize],
    -1,
    1,
    'float32',
    context.step + 1,
  ) as Tensor2D;
  const replaced = hookOf(callback, 'transformLogits')?.(logits, microbatch) ?? logits;
  expect(replaced.shape, 'shape of the logits from transformLogits').toEqual(logits.shape);
  const added = hookOf(callback, 'addLoss')?.(replaced, microbatch);
  expect(added?.shape ?? [], 'shape of the loss from addLoss').toEqual([]);
  const { ids, labels, segmentIds, positionIds, weights } = batch;
  return [
    `batch ${[ids, labels, segmentIds, positionIds, weights ?? []].map((values) => values.join(' ')).join(', ')}`,
    `logits ${replaced.dataSync().join(' ')}`,
    `loss ${added?.dataSync()[0] ?? 'not changed'}`,
  ];
}

/** The shapes of the parameters whose gradients `transformGradients` receives. */
export const parameterShapes: ReadonlyMap<string, readonly number[]> = new Map([
  ['a', [2]],
  ['b', [2, 2]],
]);

/** Calls a hook; fails if it changes the report that it is given. */
async function unchanged(what: string, report: object, call: () => unknown): Promise<void> {
  const before = structuredClone(report);
  await call();
  expect(report, what).toEqual(before);
}

/** Calls `transformGradients` with gradients of two parameters; returns the result's values as text. */
function playGradients(callback: Callback, context: StepContext, control: RecordedControl): string[] {
  const gradients = new Map<string, Tensor>([
    ['a', tensor([3 + context.step, -4])],
    ['b', tensor([0.1, 0.2, 0.3, 0.4], [2, 2])],
  ]);
  const parameters = new Map<string, Tensor>([
    ['a', tensor([1, 1])],
    ['b', tensor([1, 0, 0, 1], [2, 2])],
  ]);
  const given = new Map(gradients);
  const changed = hookOf(callback, 'transformGradients')?.(given, { ...context, parameters }, control) ?? given;
  expect([...given], 'the gradients that transformGradients was given').toEqual([...gradients]);
  expect([...changed.keys()], 'names of the gradients from transformGradients').toEqual([...gradients.keys()]);
  return [...changed].map(([name, gradient]) => {
    expect(gradient.shape, `shape of the gradient ${name} from transformGradients`).toEqual(gradients.get(name)?.shape);
    return `${name} ${[...gradient.dataSync()].join(' ')}`;
  });
}

/**
 * Calls the hooks of steps `from` to `to`, without `to`, with tensors that depend on the step alone. Returns the
 * batches, the logits, the added losses, the gradients, the recorded metrics and the requests, as text. Fails if a hook
 * returns a value of the wrong shape, or changes a report.
 */
export async function playSteps(
  callback: Callback,
  from: number,
  to: number,
  settings: DescribeCallbackOptions,
  control: RecordedControl = recordControl(),
): Promise<string[]> {
  const vocabularySize = settings.vocabularySize ?? 12;
  const results: string[] = [];
  for (let step = from; step < to; step++) {
    const metrics: Record<string, number> = {};
    const context: StepContext = {
      step,
      record: (name, value) => void (metrics[name] = typeof value === 'number' ? value : (value.dataSync()[0] ?? NaN)),
    };
    await hookOf(callback, 'onStepStart')?.(step + 1, control);
    tidy(() => {
      results.push(...playMicrobatch(callback, batchOf(randomRows(4, vocabularySize, step)), context, vocabularySize));
      results.push(...playGradients(callback, context, control));
    });
    const report = stepReport(step + 1, { metrics });
    await unchanged('the report that onStep was given', report, () => hookOf(callback, 'onStep')?.(report, control));
    const loss = 2 + ((step * 7) % 5) / 10;
    const evaluation = evaluationReport(step + 1, { loss, metrics: { ...settings.evaluationMetrics } });
    await unchanged('the report that onEvaluate was given', evaluation, () =>
      hookOf(callback, 'onEvaluate')?.(evaluation, control),
    );
    results.push(JSON.stringify(metrics));
  }
  return [...results, ...control.asked];
}

/** Plays a run of three steps in the order of the training loop, from its start to its end or to a failure. */
export async function playRun(
  callback: Callback,
  folder: string,
  settings: DescribeCallbackOptions,
  fails: boolean,
  loaded: LoadedModel | undefined,
): Promise<void> {
  const control = recordControl();
  await hookOf(callback, 'onRunStart')?.(startOf(folder, loaded), control);
  await hookOf(callback, 'onEpochStart')?.(0, control);
  await playSteps(callback, 0, 3, settings);
  await callback.saveState?.();
  await hookOf(callback, 'onSave')?.({ step: 3, folder }, control);
  if (fails) return hookOf(callback, 'onRunError')?.(new Error('a run that failed'));
  await hookOf(callback, 'onEpochEnd')?.(0, control);
  const report = {
    evalLossBefore: 3,
    evalLossAfter: 2,
    steps: 3,
    seconds: 0.3,
    samplesPerSecond: 40,
    tokensPerSecond: 400,
    supervisedTokensPerSecond: 200,
    peakMemoryBytes: 1,
    backend: 'cpu',
    engine: 'cpu',
    outputFolder: folder,
    stopReason: null,
  };
  await hookOf(callback, 'onRunEnd')?.(report);
}
