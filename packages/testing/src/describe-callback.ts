import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { memory, randomUniform, tensor, tidy, type Scalar, type Tensor, type Tensor2D } from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  callbackMembers,
  hookTable,
  PLUGIN_API_VERSION,
  type Callback,
  type Control,
  type EvaluationReport,
  type Hook,
  type HookName,
  type HookSignatures,
  type LoadedModel,
  type MicrobatchContext,
  type StartingRun,
  type StepContext,
  type StepReport,
} from '@whetstone/core/contract';
import { batchOf, randomRows, supervisedOf } from './batches.js';
import { createFrom, testContext, type Options, type TestedPlugin } from './options.js';

/** Settings of {@link describeCallback}. */
export interface DescribeCallbackOptions {
  /** Sets of options to test, by a name for the report. */
  readonly options: Readonly<Record<string, Options>>;
  /** Options that must be refused. */
  readonly badOptions?: Readonly<Record<string, Options>>;
  /** Metrics that evaluations report beside loss and perplexity. */
  readonly evaluationMetrics?: Readonly<Record<string, number>>;
  readonly vocabularySize?: number;
  /**
   * A small model of at least `vocabularySize` tokens, for callbacks that ask the one at work; the suite disposes it.
   */
  readonly loaded?: () => LoadedModel;
}

/** What a callback asked for, in order. */
interface RecordedControl extends Control {
  readonly asked: string[];
}

/** A control that only writes down what it is asked for. */
function recordControl(): RecordedControl {
  const asked: string[] = [];
  return {
    asked,
    stop: (reason) => void asked.push(`stop: ${reason}`),
    evaluate: () => void asked.push('evaluate'),
    save: () => void asked.push('save'),
    skipUpdate: (reason) => void asked.push(`skipUpdate: ${reason}`),
    markBest: () => void asked.push('markBest'),
  };
}

/** A step's report with a loss and whatever else matters to the test. */
function stepReport(step: number, changes: Partial<StepReport> = {}): StepReport {
  return {
    step,
    totalSteps: 20,
    epoch: step / 20,
    loss: 3 - 0.05 * step,
    learningRate: 1e-3,
    microbatches: 1,
    samples: 4,
    tokens: 40,
    supervisedTokens: 20,
    seconds: 0.1,
    updated: true,
    metrics: {},
    ...changes,
  };
}

/** An evaluation's report. */
function evaluationReport(step: number, changes: Partial<EvaluationReport> = {}): EvaluationReport {
  return {
    step,
    epoch: step / 20,
    loss: 3,
    perplexity: Math.exp(3),
    supervisedTokens: 20,
    samples: 4,
    seconds: 0.1,
    metrics: {},
    ...changes,
  };
}

/** The function of a hook, whether it stands alone or with an order. */
function hookOf<K extends HookName>(callback: Callback, name: K): HookSignatures[K] | undefined {
  const hook = callback[name] as Hook<HookSignatures[K]> | undefined;
  if (hook === undefined || typeof hook === 'function') return hook;
  return hook.handler;
}

/**
 * Plays steps `from`…`to` with all hooks, with tensors that depend on the step alone. Answers what was asked and
 * recorded.
 */
async function play(
  callback: Callback,
  from: number,
  to: number,
  settings: DescribeCallbackOptions,
): Promise<string[]> {
  const control = recordControl();
  const vocabularySize = settings.vocabularySize ?? 12;
  const recorded: string[] = [];
  for (let step = from; step < to; step += 1) {
    const metrics: Record<string, number> = {};
    const context: StepContext = {
      step,
      record: (name, value) => void (metrics[name] = typeof value === 'number' ? value : (value.dataSync()[0] ?? NaN)),
    };
    await hookOf(callback, 'onStepStart')?.(step, control);
    const original = batchOf(randomRows(4, vocabularySize, step));
    const batch = hookOf(callback, 'transformBatch')?.(original, context) ?? original;
    tidy(() => {
      const supervised = supervisedOf(batch);
      const microbatch: MicrobatchContext = { ...context, ...supervised, batch };
      const logits = randomUniform([supervised.targets.length, vocabularySize], -1, 1, 'float32', step + 1) as Tensor2D;
      const replaced = hookOf(callback, 'transformLogits')?.(logits, microbatch) ?? logits;
      expect(replaced.shape).toEqual(logits.shape);
      const added = hookOf(callback, 'addLoss')?.(replaced, microbatch) as Scalar | undefined;
      if (added !== undefined) expect(added.shape).toEqual([]);
      const gradients = new Map<string, Tensor>([
        ['a', tensor([3 + step, -4])],
        [
          'b',
          tensor([
            [0.1, 0.2],
            [0.3, 0.4],
          ]),
        ],
      ]);
      const parameters = new Map<string, Tensor>([
        ['a', tensor([1, 1])],
        [
          'b',
          tensor([
            [1, 0],
            [0, 1],
          ]),
        ],
      ]);
      const changed =
        hookOf(callback, 'transformGradients')?.(gradients, { ...context, parameters }, control) ?? gradients;
      expect([...changed.keys()]).toEqual([...gradients.keys()]);
      for (const [name, gradient] of changed) {
        expect(gradient.shape, name).toEqual(gradients.get(name)?.shape);
        recorded.push(`${name} ${[...gradient.dataSync()].join(' ')}`);
      }
    });
    await hookOf(callback, 'onStep')?.(stepReport(step + 1, { metrics }), control);
    await hookOf(callback, 'onEvaluate')?.(
      evaluationReport(step + 1, { loss: 2 + ((step * 7) % 5) / 10, metrics: { ...settings.evaluationMetrics } }),
      control,
    );
    recorded.push(JSON.stringify(metrics));
  }
  return [...recorded, ...control.asked];
}

const startOf = (folder: string | null, loaded: LoadedModel | undefined): StartingRun => ({
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

/** A run from its start to its end, or to a failure, with every hook in the order of the loop. */
async function playRun(
  callback: Callback,
  folder: string,
  settings: DescribeCallbackOptions,
  fails: boolean,
  loaded: LoadedModel | undefined,
): Promise<void> {
  const control = recordControl();
  await hookOf(callback, 'onRunStart')?.(startOf(folder, loaded), control);
  await hookOf(callback, 'onEpochStart')?.(0, control);
  await play(callback, 0, 3, settings);
  await hookOf(callback, 'onSave')?.({ step: 3, folder }, control);
  if (fails) return hookOf(callback, 'onRunError')?.(new Error('a run that failed'));
  await hookOf(callback, 'onEpochEnd')?.(0, control);
  await hookOf(
    callback,
    'onRunEnd',
  )?.({
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
  });
}

/** Open files of this process, where the system tells; else 0. */
const openFiles = (): number => (existsSync('/proc/self/fd') ? readdirSync('/proc/self/fd').length : 0);

/**
 * The conformance suite of callbacks and loggers. It calls vitest's `describe` and `it`, so it stands at the top of a
 * test file.
 */
export function describeCallback(
  plugin: TestedPlugin<'callback'> | TestedPlugin<'logger'>,
  settings: DescribeCallbackOptions,
): void {
  let loaded: LoadedModel | undefined;
  /** One that asks the model is told it first. */
  const create = async (options: Options): Promise<Callback> => {
    const callback = await createFrom(plugin as TestedPlugin<'callback'>, options);
    if (loaded !== undefined) await hookOf(callback, 'onRunStart')?.(startOf(null, loaded), recordControl());
    return callback;
  };

  describe(`${plugin.kind} ${plugin.name}`, { timeout: 120_000 }, () => {
    beforeAll(() => {
      loaded = settings.loaded?.();
    });
    afterAll(() => loaded?.model.dispose());

    it('declares itself', () => {
      expect(plugin).toMatchObject({
        apiVersion: PLUGIN_API_VERSION,
        configSchema: { type: 'object', additionalProperties: false },
      });
      expect(['callback', 'logger']).toContain(plugin.kind);
    });

    it.each(Object.entries(settings.badOptions ?? {}))('refuses %s', async (_name, options) => {
      await expect(create(options)).rejects.toThrow();
    });

    describe.each(Object.entries(settings.options))('%s', (_name, options) => {
      it('has hooks, all of which exist', async () => {
        const callback = await create(options);
        const known: readonly string[] = [...Object.keys(hookTable), ...callbackMembers];
        expect(Object.keys(callback).filter((key) => !known.includes(key))).toEqual([]);
        expect(Object.keys(callback).some((key) => key in hookTable)).toBe(true);
        expect('saveState' in callback, 'saveState and loadState come together').toBe('loadState' in callback);
        callback.dispose?.();
      });

      it('keeps the number of tensors from step to step, and disposes all', async () => {
        const before = memory().numTensors;
        const callback = await create(options);
        await play(callback, 0, 2, settings);
        const flat = memory().numTensors;
        await play(callback, 2, 4, settings);
        expect(memory().numTensors, 'from step to step').toBe(flat);
        callback.dispose?.();
        expect(memory().numTensors, 'after dispose').toBe(before);
      });

      it('resumes exactly', async () => {
        const straight = await create(options);
        await play(straight, 0, 5, settings);
        const state = JSON.stringify(straight.saveState?.() ?? null);
        const expected = await play(straight, 5, 10, settings);
        const resumed = await create(options);
        resumed.loadState?.(JSON.parse(state));
        expect(await play(resumed, 5, 10, settings)).toEqual(expected);
        straight.dispose?.();
        resumed.dispose?.();
      });

      it('lives through whole runs, that end and that fail, and leaves nothing open', async () => {
        const folder = mkdtempSync(join(tmpdir(), 'whetstone-callback-'));
        const before = memory().numTensors;
        const open = openFiles();
        try {
          for (const fails of [false, true]) {
            const callback = await createFrom(plugin as TestedPlugin<'callback'>, options, {
              ...testContext,
              outputFolder: join(folder, String(fails)),
            });
            await playRun(callback, folder, settings, fails, loaded);
            callback.dispose?.();
          }
          expect(memory().numTensors, 'tensors left over').toBe(before);
          expect(openFiles(), 'files left open').toBe(open);
        } finally {
          rmSync(folder, { recursive: true, force: true });
        }
      });

      it('shares nothing between two of its kind', async () => {
        const [one, other] = [await create(options), await create(options)];
        await play(one, 0, 5, settings);
        const fresh = await create(options);
        expect(await play(other, 0, 3, settings)).toEqual(await play(fresh, 0, 3, settings));
        for (const callback of [one, other, fresh]) callback.dispose?.();
      });
    });
  });
}
