import '@tensorflow/tfjs-backend-cpu';
import '@whetstone/core/tfjs-gradients';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import type { Callback, Gradients, Optimizer } from '@whetstone/core/contract';
import type { TrainRun } from '@whetstone/core/training';
import { beforeAll, describe, expect, it } from 'vitest';
import { fullStrategy } from '../../packages/strategies/src/full/full.js';
import { readTensors } from '../support/tensors.js';
import { temporaryFolder } from '../support/temporary-folder.js';
import { disposeRun, shuffledSource, testRun, train, valuesOf, type TestRunOptions } from '../support/training.js';

beforeAll(() => tf.setBackend('cpu'));

type Values = Readonly<Record<string, readonly number[]>>;

/** Applies a function to the numbers of several sets of weights, element by element. */
const combine = (of: (...numbers: number[]) => number, ...sets: readonly Values[]): Values =>
  Object.fromEntries(
    Object.keys(sets[0] ?? {}).map((name) => [
      name,
      (sets[0]?.[name] ?? []).map((_, index) => of(...sets.map((set) => set[name]?.[index] ?? NaN))),
    ]),
  );

/** A moving average of the weights after each step: a₁ = w₁, aₙ = ½·aₙ₋₁ + ½·wₙ. */
function movingAverage(): Callback {
  let parameters: Gradients = new Map();
  const averages = new Map<string, tf.Tensor>();
  const set = (name: string, value: tf.Tensor): void => {
    averages.get(name)?.dispose();
    averages.set(name, tf.keep(value));
  };
  return {
    transformGradients: (gradients, step) => {
      ({ parameters } = step);
      return gradients;
    },
    onStep: () => {
      for (const [name, weight] of parameters) {
        const before = averages.get(name);
        set(
          name,
          tf.tidy(() => (before === undefined ? weight.clone() : tf.add(tf.mul(before, 0.5), tf.mul(weight, 0.5)))),
        );
      }
    },
    evaluationWeights: () => averages,
    saveState: async () => {
      const saved: Record<string, { shape: number[]; values: number[] }> = {};
      for (const [name, value] of averages) saved[name] = { shape: value.shape, values: [...(await value.data())] };
      return saved;
    },
    loadState: (state) => {
      const saved = state as Readonly<Record<string, { shape: number[]; values: number[] }>>;
      for (const [name, { shape, values }] of Object.entries(saved)) set(name, tf.tensor(values, shape));
    },
    dispose: () => tf.dispose([...averages.values()]),
  };
}

/** The formula of {@link movingAverage} in float32, worked on the weights after each step. */
const average = (before: Values, weights: Values): Values =>
  combine((a, w) => Math.fround(Math.fround(0.5 * a) + Math.fround(0.5 * w)), before, weights);

interface Watched {
  /** The weights after each step. */
  readonly steps: Values[];
  /** The weights in the model during each evaluation. */
  readonly evaluations: Values[];
  readonly losses: number[];
  readonly evalLosses: number[];
  /** The weights in the model at the end. */
  readonly end: Values;
}

/** Trains, and records the weights that a callback finds in the model. */
async function watch(make: (watching: Callback) => TrainRun): Promise<Watched> {
  const [steps, evaluations]: [Values[], Values[]] = [[], []];
  const evalLosses: number[] = [];
  const watching: Callback = {
    onStep: async () => void steps.push(await valuesOf(run.loaded.model)),
    onEvaluate: async ({ loss }) => {
      evalLosses.push(loss);
      evaluations.push(await valuesOf(run.loaded.model));
    },
  };
  const run = make(watching);
  const { reports } = await train(run);
  const end = await valuesOf(run.loaded.model);
  disposeRun(run);
  return { steps, evaluations, losses: reports.map(({ loss }) => loss), evalLosses, end };
}

const base = (watching: Callback, more: TestRunOptions = {}, ...callbacks: Callback[]): TrainRun =>
  testRun({
    evalData: shuffledSource(4, 2, 9),
    ...more,
    callbacks: [...callbacks, watching],
    training: { maxSteps: 4, evalStrategy: 'steps', evalSteps: 1, ...more.training },
  });

describe('a moving average', () => {
  it('is in the model during evaluations and at the end, and does not change training', async () => {
    const before = tf.memory().numTensors;
    const averaged = await watch((watching) => base(watching, {}, movingAverage()));
    const plain = await watch((watching) => base(watching));
    expect(averaged.steps).toEqual(plain.steps);
    expect(averaged.losses).toEqual(plain.losses);
    const [first, ...later] = averaged.steps as [Values, ...Values[]];
    const expected = [first];
    for (const weights of later) expected.push(average(expected.at(-1) as Values, weights));
    expect(averaged.evaluations).toEqual(expected);
    expect(averaged.end).toEqual(expected.at(-1));
    expect(averaged.evalLosses[0]).toBe(plain.evalLosses[0]);
    expect(averaged.evalLosses[3]).not.toBe(plain.evalLosses[3]);
    expect(tf.memory().numTensors).toBe(before);
  });

  it('is exported, while checkpoints keep the training weights: a resumed run is exact', async () => {
    const training = { saveStrategy: 'steps', saveSteps: 2 } as const;
    const straight = await watch((watching) => base(watching, {}, movingAverage()));
    const outputFolder = await temporaryFolder();
    await watch((watching) =>
      base(watching, { outputFolder, training: { ...training, maxSteps: 2 } }, movingAverage()),
    );
    const checkpoint = await readTensors(join(outputFolder, 'checkpoint-2', 'model.safetensors'));
    const resumed = await watch((watching) =>
      base(watching, { outputFolder, training: { ...training, resumeFromCheckpoint: true } }, movingAverage()),
    );
    expect(resumed.losses).toEqual(straight.losses.slice(2));
    expect(resumed.evaluations).toEqual(straight.evaluations.slice(2));
    expect(resumed.end).toEqual(straight.end);
    const exported = await readTensors(join(outputFolder, 'model', 'model.safetensors'));
    for (const [name, values] of Object.entries(straight.end)) {
      expect([...(exported.get(name) ?? [])]).toEqual(values);
      expect([...(checkpoint.get(name) ?? [])]).toEqual(straight.steps[1]?.[name]);
    }
  });

  it.each([true, false])('of the best evaluation is what the run ends with (output folder: %s)', async (writes) => {
    const outputFolder = writes ? await temporaryFolder() : null;
    // The second of four evaluations is the best.
    const marking: Callback = {
      onEvaluate: ({ step }, control) => {
        if (step === 2) control.markBest();
      },
    };
    const { evaluations, end } = await watch((watching) => base(watching, { outputFolder }, movingAverage(), marking));
    expect(end).toEqual(evaluations[1]);
    expect(end).not.toEqual(evaluations[3]);
  });

  it('of weights that are stored as bfloat16 is rounded for evaluations, and the masters are not changed', async () => {
    const strategy = () => fullStrategy({ weights: 'bfloat16' });
    const averaged = await watch((watching) => base(watching, { strategy: strategy() }, movingAverage()));
    const plain = await watch((watching) => base(watching, { strategy: strategy() }));
    expect(averaged.losses).toEqual(plain.losses);
    expect(averaged.steps).toEqual(plain.steps);
    expect(averaged.evaluations[3]).not.toEqual(plain.evaluations[3]);
  });
});

/**
 * Schedule-free gradient descent (Defazio et al., 2024) with β = 0.5: zₙ₊₁ = zₙ − γ·g(yₙ), xₙ₊₁ = (1 − c)·xₙ + c·zₙ₊₁
 * with c = 1 / (n + 1), yₙ₊₁ = ½·zₙ₊₁ + ½·xₙ₊₁. Trains y and evaluates x.
 */
function scheduleFree(): Optimizer {
  const z = new Map<string, tf.Tensor>();
  const x = new Map<string, tf.Tensor>();
  const set = (map: Map<string, tf.Tensor>, name: string, value: tf.Tensor): void => {
    map.get(name)?.dispose();
    map.set(name, tf.keep(value));
  };
  const clear = (): void => {
    tf.dispose([...z.values(), ...x.values()]);
    z.clear();
    x.clear();
  };
  return {
    apply: (parameters, gradients, { update, learningRate }) => {
      for (const [name, y] of parameters) {
        const gradient = gradients.get(name);
        if (gradient === undefined) continue;
        const c = 1 / update;
        const [nextZ, nextX, nextY] = tf.tidy(() => {
          const newZ = tf.sub(z.get(name) ?? y, tf.mul(gradient, learningRate));
          const newX = tf.add(tf.mul(x.get(name) ?? y, 1 - c), tf.mul(newZ, c));
          return [newZ, newX, tf.add(tf.mul(newZ, 0.5), tf.mul(newX, 0.5))] as const;
        });
        set(z, name, nextZ);
        set(x, name, nextX);
        y.assign(nextY);
        nextY.dispose();
      }
    },
    evaluationWeights: () => x,
    saveState: () => ({
      tensors: new Map([
        ...[...z].map(([name, value]) => [`${name}.z`, value] as const),
        ...[...x].map(([name, value]) => [`${name}.x`, value] as const),
      ]),
      values: null,
    }),
    loadState: ({ tensors }) => {
      clear();
      for (const [name, value] of tensors) set(name.endsWith('.z') ? z : x, name.slice(0, -2), value.clone());
    },
    dispose: clear,
  };
}

describe('a schedule-free optimizer', () => {
  const withOptimizer = (run: TrainRun): TrainRun => ({
    ...run,
    optimizer: { plugin: 'schedule-free', instance: scheduleFree() },
  });

  it('trains y and evaluates x, by its formula', async () => {
    const gradients: Values[] = [];
    const spy: Callback = {
      transformGradients: (given) => {
        gradients.push(Object.fromEntries([...given].map(([name, each]) => [name, [...each.dataSync()]])));
        return given;
      },
    };
    let start: Values = {};
    const starting: Callback = {
      onRunStart: async ({ loaded }) => void (loaded !== undefined && (start = await valuesOf(loaded.model))),
    };
    const { steps, evaluations, end } = await watch((watching) =>
      withOptimizer(base(watching, { learningRate: 0.5 }, spy, starting)),
    );
    const f = Math.fround;
    let [z, x] = [start, start];
    for (const [index, gradient] of gradients.entries()) {
      const c = f(1 / (index + 1));
      const rest = f(1 - 1 / (index + 1));
      z = combine((value, g) => f(value - f(g * f(0.5))), z, gradient);
      x = combine((value, next) => f(f(value * rest) + f(next * c)), x, z);
      expect(evaluations[index]).toEqual(x);
      expect(steps[index]).toEqual(combine((a, b) => f(f(a * 0.5) + f(b * 0.5)), z, x));
    }
    expect(gradients).toHaveLength(4);
    expect(end).toEqual(x);
  });

  it('continues exactly when the run resumes', async () => {
    const training = { saveStrategy: 'steps', saveSteps: 2 } as const;
    const straight = await watch((watching) => withOptimizer(base(watching)));
    const outputFolder = await temporaryFolder();
    await watch((watching) => withOptimizer(base(watching, { outputFolder, training: { ...training, maxSteps: 2 } })));
    const resumed = await watch((watching) =>
      withOptimizer(base(watching, { outputFolder, training: { ...training, resumeFromCheckpoint: true } })),
    );
    expect(resumed.steps).toEqual(straight.steps.slice(2));
    expect(resumed.evaluations).toEqual(straight.evaluations.slice(2));
  });

  it('excludes another provider, and the error names both', async () => {
    const run = withOptimizer(testRun({ callbacks: [movingAverage()] }));
    await expect(train(run)).rejects.toMatchObject({
      code: 'CONFIG_CONFLICT',
      message: "'schedule-free' and 'callback-0' both provide the weights for evaluation. Only one can.",
    });
    disposeRun(run);
  });
});

describe('evaluation weights', () => {
  it.each([
    ['of a parameter that is not trained', 'unknown', [2], /the parameter 'unknown' is not trained/],
    ['of a wrong shape', 'lm_head.weight', [2], /'lm_head.weight' has the shape \[2\] instead of \[48, 16\]/],
  ] as const)('%s are an error that names the callback', async (_, name, shape, message) => {
    const wrong: Callback = {
      onStep: () => undefined,
      evaluationWeights: () => new Map([[name, tf.zeros([...shape])]]),
    };
    const run = base({ onStep: () => undefined }, {}, wrong);
    const error: unknown = await train(run).catch((failure: unknown) => failure);
    expect(error).toMatchObject({ code: 'PLUGIN_FAILED', details: { plugin: 'callback-0' } });
    expect(String(error)).toMatch(message);
    disposeRun(run);
  });

  it('are taken out again if an evaluation fails', async () => {
    const failing: Callback = {
      onEvaluate: () => {
        throw new Error('no luck');
      },
    };
    const steps: Values[] = [];
    const run = base(
      { onStep: async () => void steps.push(await valuesOf(run.loaded.model)) },
      { training: { evalSteps: 2 } },
      movingAverage(),
      failing,
    );
    await expect(train(run)).rejects.toThrow('no luck');
    expect(await valuesOf(run.loaded.model)).toEqual(steps[1]);
    disposeRun(run);
  });
});
