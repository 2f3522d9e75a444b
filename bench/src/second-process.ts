import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import '@whetstone/core/tfjs-gradients';
import { registerWhetstoneBackend, type RegisterOptions } from '@whetstone/backend';
import { findTensorflow, findXlaPlugin } from '@whetstone/backend/install';
import { singleProcess } from '@whetstone/core/distributed';
import { trainStep } from '@whetstone/core/training';
import { createHookRunner } from '@whetstone/core/hooks';
import { createAdamW } from '@whetstone/core/optimizers';
import { loadModel } from '@whetstone/models';
import { loraStrategy } from '@whetstone/strategies/internal';
import { findModelFolder } from 'whetstone';
import { numberOf, runOnce } from './peer.js';
import { median, medianOf, report, spread, summarize } from './report.js';
import { measureInTurns } from './runs.js';
import { randomBatch } from './step.js';

export interface SecondProcessBenchOptions {
  readonly model: string;
  readonly engine: 'tensorflow' | 'xla';
  readonly batch: number;
  readonly length: number;
  readonly threads: number;
  readonly runs: number;
  readonly json?: boolean;
  /**
   * A folder of compiled modules, where it is this very process that is measured: what the command calls itself with.
   */
  readonly one?: string;
}

/** How many steps a process makes: one with everything that is made once, and some without. */
const STEPS = 4;

/**
 * Two processes, one after the other, over one folder of compiled modules that is empty at first: how long each takes
 * to load (library, model, adapter) and to make its first step. The engine tensorflow keeps nothing on disk: there the
 * second process does what the first did.
 */
export async function benchSecondProcess(options: SecondProcessBenchOptions): Promise<void> {
  if (options.one !== undefined) {
    process.stdout.write(`${JSON.stringify(await measure(options, options.one))}\n`);
    return;
  }
  const { model, engine, batch, length, threads, runs, json = false } = options;
  const pair = {
    name: engine,
    async measure() {
      const folder = await mkdtemp(join(tmpdir(), 'whetstone-modules-'));
      try {
        const flags = { model, engine, batch, length, threads, one: folder };
        return [await runOnce('second-process', flags), await runOnce('second-process', flags)];
      } finally {
        await rm(folder, { recursive: true, force: true });
      }
    },
  };
  const [pairs = []] = await measureInTurns([pair], runs);
  const lines = ['first', 'second'].map((which, index) => {
    const of = (name: string): string => spread(summarize(pairs.map((both) => numberOf(both[index] ?? {}, name))));
    return (
      `${which} process: library ${of('librarySeconds')} s, model and adapter ${of('modelSeconds')} s, ` +
      `first step ${of('firstStepSeconds')} s, later steps ${of('laterStepSeconds')} s`
    );
  });
  report(
    [`lora, ${batch} × ${length} tokens, ${engine}; ${medianOf(runs)}`, ...lines],
    { engine, batch, length, runs, pairs },
    json,
  );
}

async function engineOptions(
  { engine, threads }: SecondProcessBenchOptions,
  moduleFolder: string,
): Promise<RegisterOptions> {
  const found = engine === 'xla' ? await findXlaPlugin() : await findTensorflow();
  if ('reasons' in found) throw new Error(found.reasons.join(', and '));
  return 'folder' in found
    ? { engine: 'tensorflow', libraryFolder: found.folder, threads }
    : { engine: 'xla', plugin: found.path, threads, moduleFolder };
}

/** Seconds of this process. */
async function measure(
  options: SecondProcessBenchOptions,
  moduleFolder: string,
): Promise<Readonly<Record<string, number>>> {
  let started = performance.now();
  const lap = (): number => {
    const before = started;
    started = performance.now();
    return (started - before) / 1000;
  };
  const backend = await registerWhetstoneBackend(await engineOptions(options, moduleFolder));
  const librarySeconds = lap();
  const { model } = await loadModel(await findModelFolder(options.model));
  const owner = await loraStrategy({ rank: 16, alpha: 32 }).attach(model, {
    seed: 0,
    totalSteps: STEPS,
    modelFolder: null,
  });
  await backend.settle();
  const modelSeconds = lap();
  // As a run has it: halves beside each other only where the engine gains by them.
  const devices = {
    barrier: () => backend.barrier(),
    ...(backend.engine.gainsFromConcurrency === true
      ? { sideBySide: <T>(record: () => T): T => backend.recordConcurrently(record) }
      : {}),
  };
  const parts = {
    model,
    owner,
    companions: [],
    sync: singleProcess,
    hooks: createHookRunner([]),
    optimizer: createAdamW({ weightDecay: 0.01, adamBeta1: 0.9, adamBeta2: 0.999, adamEpsilon: 1e-8 }),
    backend: devices,
  };
  const data = randomBatch(options.batch, options.length, model.vocabularySize);
  const seconds: number[] = [];
  for (let step = 0; step < STEPS; step++) {
    lap();
    await trainStep(parts, [data], step, 2e-5);
    await backend.settle();
    seconds.push(lap());
  }
  const [firstStepSeconds = NaN, ...later] = seconds;
  return { librarySeconds, modelSeconds, firstStepSeconds, laterStepSeconds: median(later) };
}
