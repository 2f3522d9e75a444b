import { closeSync, mkdirSync, openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import {
  add,
  clipByValue,
  mean,
  mul,
  randomNormal,
  square,
  tensor,
  variable,
  zerosLike,
  type Scalar,
  type Tensor,
  type Tensor2D,
  type Variable,
} from '@tensorflow/tfjs-core';
import { definePlugin, IGNORED_LABEL, WhetstoneError, type Callback, type Gradients } from '@whetstone/core/contract';

/** The options of {@link smoothing}. */
export interface SmoothingOptions {
  readonly match: string;
  readonly patience: number;
  readonly ignored: readonly number[];
}

interface Average {
  readonly name: string;
  readonly shape: number[];
  readonly values: number[];
}

/** The state of the callback, as a checkpoint keeps it. */
interface SmoothingState {
  readonly best: number | null;
  readonly waited: number;
  readonly averages: readonly Average[];
}

function patternOf(text: string): RegExp {
  try {
    return new RegExp(text);
  } catch (cause) {
    throw new WhetstoneError('CONFIG_INVALID', 'The pattern is not a regular expression.', { found: text, cause });
  }
}

/** Replaces gradients by an average over the steps and seeded noise. */
function averagedGradients(pattern: RegExp, seed: number) {
  const averages = new Map<string, Variable>();
  const averageOf = (name: string, gradient: Tensor): Variable => {
    const average = averages.get(name) ?? variable(zerosLike(gradient), false);
    averages.set(name, average);
    average.assign(add(mul(average, 0.5), mul(gradient, 0.5)));
    return average;
  };
  const noisy = (value: Tensor, step: number): Tensor =>
    add(value, randomNormal(value.shape, 0, 0.1, 'float32', seed + step));
  return {
    averages,
    transform: (gradients: Gradients, step: number): Gradients =>
      new Map(
        [...gradients].map(([name, gradient]) =>
          pattern.test(name) ? [name, noisy(averageOf(name, gradient), step)] : [name, gradient],
        ),
      ),
    save: (): Promise<Average[]> =>
      Promise.all(
        [...averages].map(async ([name, average]) => ({
          name,
          shape: average.shape,
          values: [...(await average.data())],
        })),
      ),
    load: (saved: readonly Average[]): void => {
      for (const { name, shape, values } of saved) {
        const value = tensor(values, shape);
        averages.get(name)?.dispose();
        averages.set(name, variable(value, false));
        value.dispose();
      }
    },
    dispose: (): void => {
      for (const average of averages.values()) average.dispose();
    },
  };
}

/** Writes a line for each step, if the run has an output folder. */
function stepLog(folder: string | null) {
  let file: number | null = null;
  return {
    open: (): void => {
      if (folder === null) return;
      mkdirSync(folder, { recursive: true });
      file = openSync(join(folder, 'steps.txt'), 'a');
    },
    write: (step: number): void => {
      if (file !== null) writeSync(file, `${step}\n`);
    },
    close: (): void => {
      if (file !== null) closeSync(file);
      file = null;
    },
  };
}

function createSmoothing(
  { match, patience, ignored }: SmoothingOptions,
  seed: number,
  outputFolder: string | null,
): Callback {
  const gradients = averagedGradients(patternOf(match), seed);
  const log = stepLog(outputFolder);
  let best: number | null = null;
  let waited = 0;
  return {
    onRunStart: () => log.open(),
    transformBatch: (batch) => ({
      ...batch,
      labels: batch.labels.map((label) => (ignored.includes(label) ? IGNORED_LABEL : label)),
    }),
    transformLogits: (logits) => clipByValue(logits, -0.9, 0.9) as Tensor2D,
    addLoss: (logits) => mul<Scalar>(mean(square(logits)), 0.01),
    transformGradients: (given, { step }) => gradients.transform(given, step),
    onStep: ({ step }) => log.write(step),
    onEvaluate: ({ loss }, control) => {
      waited = best === null || loss < best ? 0 : waited + 1;
      best = Math.min(best ?? loss, loss);
      if (waited >= patience) control.stop(`no better loss in ${waited} evaluations`);
    },
    onRunEnd: () => log.close(),
    onRunError: () => log.close(),
    saveState: async () => ({
      best,
      waited,
      averages: (await gradients.save()).map((average) => ({ ...average })),
    }),
    loadState: (state) => {
      const saved = state as unknown as SmoothingState;
      ({ best, waited } = saved);
      gradients.load(saved.averages);
    },
    evaluationWeights: () => gradients.averages,
    dispose: () => gradients.dispose(),
  };
}

/**
 * A callback that has everything that the conformance suite checks: all kinds of hooks, seeded noise, a file, tensors,
 * and state. The faulty callbacks of `broken-callbacks.test.ts` change one thing each.
 */
export const smoothing = definePlugin({
  apiVersion: 2,
  kind: 'callback',
  name: 'smoothing',
  configSchema: {
    type: 'object',
    additionalProperties: false,
    properties: {
      match: { type: 'string', default: '.' },
      patience: { type: 'integer', minimum: 1, default: 2 },
      ignored: { type: 'array', items: { type: 'integer' }, default: [3] },
    },
  },
  create: (options, { seed, outputFolder }) => createSmoothing(options, seed, outputFolder),
});
