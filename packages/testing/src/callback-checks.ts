import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { memory } from '@tensorflow/tfjs-core';
import { expect } from 'vitest';
import {
  callbackMembers,
  hookTable,
  type Callback,
  type LoadedModel,
  type PluginContext,
} from '@whetstone/core/contract';
import { hookOf, parameterShapes, playRun, playSteps, startOf } from './callback-play.js';
import { recordControl } from './callback-reports.js';
import type { CallbackSubject } from './callback-subject.js';
import { expectCoded, expectDeclaration, expectReadable, throughJson, type Check, type Checks } from './check.js';
import { resolveOptions, testContext, type Options } from './options.js';

type CallbackCheck = Check<CallbackSubject>;

/** Creates callbacks for one check. */
interface CallbackBench {
  /** The model of the run, if the suite was given one. */
  readonly loaded: LoadedModel | undefined;
  /** Creates a callback. `options`: already resolved; the subject's by default. */
  create(context?: Partial<PluginContext>, options?: Options): Promise<Callback>;
  /** Creates a callback, and tells it that a run starts if it is to use the model of the run. */
  start(context?: Partial<PluginContext>, options?: Options): Promise<Callback>;
  /** Calls the hooks of steps `from` to `to`, without `to`; returns what the callback did, as text. */
  play(callback: Callback, from: number, to: number): Promise<string[]>;
  /** Disposes a callback now. The bench disposes the others when the check is over. */
  dispose(callback: Callback): void;
}

/** A check that runs on a bench, and has its callbacks and model disposed. */
const onBench = (
  name: string,
  check: (bench: CallbackBench, subject: CallbackSubject) => Promise<void>,
  applies: (subject: CallbackSubject) => boolean = () => true,
): CallbackCheck => ({
  name,
  applies,
  run: async (subject) => {
    const { plugin, settings, options: given } = subject;
    const loaded = settings.loaded?.();
    const live = new Set<Callback>();
    const bench: CallbackBench = {
      loaded,
      create: async (context = {}, options = resolveOptions(plugin.configSchema, given)) => {
        const callback = await plugin.create(options as never, { ...testContext, ...context });
        live.add(callback);
        return callback;
      },
      start: async (context, options) => {
        const callback = await bench.create(context, options);
        if (loaded !== undefined) await hookOf(callback, 'onRunStart')?.(startOf(null, loaded), recordControl());
        return callback;
      },
      play: (callback, from, to) => playSteps(callback, from, to, settings),
      dispose: (callback) => {
        if (live.delete(callback)) callback.dispose?.();
      },
    };
    try {
      await check(bench, subject);
    } finally {
      for (const callback of live) bench.dispose(callback);
      loaded?.model.dispose();
    }
  },
});

const declaresItself: CallbackCheck = {
  name: 'declares itself',
  run: async ({ plugin }) => expectDeclaration(plugin, ['callback', 'logger']),
};

const refusesBadOptions = onBench('refuses bad options', async (bench, { plugin, options }) => {
  const before = memory().numTensors;
  let resolved: Options;
  try {
    resolved = resolveOptions(plugin.configSchema, options);
  } catch {
    return; // The schema refused them, and a run reports that with the path of each problem.
  }
  const refusal = await bench.start({}, resolved).then(
    () => null,
    (error: unknown) => ({ error }),
  );
  if (refusal === null) expect.fail('neither the schema nor the callback refused the options');
  expectCoded(refusal.error);
  expect(memory().numTensors, 'tensors left over by the refusal').toBe(before);
});

const hasKnownHooks = onBench('has hooks, all of which exist', async (bench) => {
  const callback = await bench.start();
  const known: readonly string[] = [...Object.keys(hookTable), ...callbackMembers];
  const unknown = Object.keys(callback).filter((key) => !known.includes(key));
  expect(unknown, 'members that are neither hooks nor known').toEqual([]);
  const hooks = Object.keys(callback).filter((key) => key in hookTable);
  expect(hooks.length, 'number of hooks').toBeGreaterThan(0);
  expect('saveState' in callback, 'whether it has saveState, as it has loadState').toBe('loadState' in callback);
});

const returnsRightShapes = onBench(
  'returns values of the right shapes, and leaves its batch unchanged',
  async (bench) => {
    const results = await bench.play(await bench.start(), 0, 3);
    expect(results.length, 'number of results of three steps').toBeGreaterThan(0);
  },
);

const leavesOptions = onBench('leaves its options unchanged', async (bench, { plugin, options }) => {
  const resolved = resolveOptions(plugin.configSchema, options);
  const before = structuredClone(resolved);
  await bench.play(await bench.start({}, resolved), 0, 2);
  expect(resolved, 'options after two steps').toEqual(before);
});

const keepsTensorCount = onBench('keeps the number of tensors from step to step', async (bench) => {
  const callback = await bench.start();
  await bench.play(callback, 0, 2);
  const before = memory().numTensors;
  await bench.play(callback, 2, 4);
  expect(memory().numTensors, 'tensors after two further steps').toBe(before);
});

const disposesTensors = onBench('disposes every tensor that it makes', async (bench) => {
  const before = memory().numTensors;
  const callback = await bench.start();
  await bench.play(callback, 0, 3);
  const saved = throughJson((await callback.saveState?.()) ?? null);
  bench.dispose(callback);
  expect(memory().numTensors, 'tensors left over after dispose').toBe(before);
  const resumed = await bench.start();
  resumed.loadState?.(saved);
  await bench.play(resumed, 3, 4);
  bench.dispose(resumed);
  expect(memory().numTensors, 'tensors left over after the dispose of a resumed run').toBe(before);
});

const readsItsState = onBench('reads the state that it writes', async (bench) => {
  const straight = await bench.start();
  if (straight.saveState === undefined) return;
  await bench.play(straight, 0, 5);
  const written = throughJson(await straight.saveState());
  const resumed = await bench.start();
  expectReadable(() => resumed.loadState?.(structuredClone(written)));
  expect(await resumed.saveState?.(), 'saveState after loadState').toEqual(written);
});

const resumesExactly = onBench('resumes exactly: 5 + save + load + 5 steps are 10', async (bench) => {
  const straight = await bench.start();
  await bench.play(straight, 0, 5);
  const saved = throughJson((await straight.saveState?.()) ?? null);
  const expected = await bench.play(straight, 5, 10);
  const resumed = await bench.start();
  resumed.loadState?.(saved);
  expect(await bench.play(resumed, 5, 10), 'what it does in a resumed run').toEqual(expected);
});

const returnsToState = onBench('returns to a state that it saved, after further steps', async (bench) => {
  const callback = await bench.start();
  await bench.play(callback, 0, 5);
  const saved = throughJson((await callback.saveState?.()) ?? null);
  const expected = await bench.play(callback, 5, 10);
  const before = memory().numTensors;
  callback.loadState?.(saved);
  expect(await bench.play(callback, 5, 10), 'what it does after a rollback').toEqual(expected);
  expect(memory().numTensors, 'tensors after a rollback').toBe(before);
});

const ownsEvaluationWeights = onBench(
  'provides evaluation weights of its parameters, and keeps their tensors',
  async (bench) => {
    const callback = await bench.start();
    if (callback.evaluationWeights === undefined) return;
    await bench.play(callback, 0, 3);
    const before = memory().numTensors;
    const weights = [...callback.evaluationWeights()];
    callback.evaluationWeights();
    expect(memory().numTensors, 'tensors after reading the evaluation weights').toBe(before);
    for (const [name, { shape }] of weights) {
      expect([...parameterShapes.keys()], 'parameters, one of which has the evaluation weight').toContain(name);
      expect(shape, `shape of the evaluation weight ${name}`).toEqual(parameterShapes.get(name));
    }
  },
);

const makesValidRequests = onBench('makes valid requests', async (bench, { settings }) => {
  const callback = await bench.start();
  const control = recordControl();
  await playSteps(callback, 0, 5, settings, control);
  const invalid = control.learningRates.filter((value) => !Number.isFinite(value) || value < 0);
  expect(invalid, 'learning rates that are not finite numbers of at least 0').toEqual([]);
  if (callback.rollsBack !== true) expect(control.rollbacks, 'rollbacks requested without rollsBack').toBe(0);
});

const repeatsItself = onBench('does the same again from the same seed', async (bench) => {
  const first = await bench.play(await bench.start(), 0, 3);
  expect(await bench.play(await bench.start(), 0, 3), 'what it does in a second run').toEqual(first);
});

const usesItsSeed = onBench(
  'does something else from another seed',
  async (bench) => {
    const first = await bench.play(await bench.start(), 0, 3);
    const second = await bench.play(await bench.start({ seed: testContext.seed + 1 }), 0, 3);
    expect(second, 'what it does in a run from another seed').not.toEqual(first);
  },
  ({ settings }) => settings.seeded === true,
);

const sharesNothing = onBench('shares nothing with another callback of the same plugin', async (bench) => {
  const [one, other] = [await bench.start(), await bench.start()];
  const first = await bench.play(one, 0, 5);
  expect(await bench.play(other, 0, 5), 'what the callback does that is played second').toEqual(first);
});

/** Returns the number of open files of this process; 0 if the system does not list them. */
const openFiles = (): number => (existsSync('/proc/self/fd') ? readdirSync('/proc/self/fd').length : 0);

const outlivesRuns = onBench('leaves nothing open after runs that end and that fail', async (bench, { settings }) => {
  const folder = mkdtempSync(join(tmpdir(), 'whetstone-callback-'));
  const before = { tensors: memory().numTensors, files: openFiles() };
  try {
    for (const fails of [false, true]) {
      const outputFolder = join(folder, String(fails));
      mkdirSync(outputFolder);
      const callback = await bench.create({ outputFolder });
      await playRun(callback, outputFolder, settings, fails, bench.loaded);
      bench.dispose(callback);
      const run = fails ? 'a run that fails' : 'a run that ends';
      expect(memory().numTensors, `tensors left over after ${run}`).toBe(before.tensors);
      expect(openFiles(), `files left open after ${run}`).toBe(before.files);
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

/** The checks that `describeCallback` registers as tests. */
export const callbackChecks: Checks<CallbackSubject> = {
  plugin: [declaresItself],
  badOptions: [refusesBadOptions],
  options: [
    hasKnownHooks,
    returnsRightShapes,
    leavesOptions,
    keepsTensorCount,
    disposesTensors,
    readsItsState,
    resumesExactly,
    returnsToState,
    makesValidRequests,
    ownsEvaluationWeights,
    repeatsItself,
    usesItsSeed,
    sharesNothing,
    outlivesRuns,
  ],
};
