import { existsSync } from 'node:fs';
import { addN, clone, dispose, keep, scalar, square, sub, sum, tidy, type Tensor } from '@tensorflow/tfjs-core';
import {
  WhetstoneError,
  type BatchSource,
  type Json,
  type LanguageModel,
  type Logger,
  type Strategy,
  type StrategyRun,
} from '@whetstone/core/contract';
import { meanLoss, targetsOf } from '../support/batch-loss.js';
import { addFisher, consolidationPenalty, type Consolidation } from './consolidation.js';
import { checkFisherFile, readFisherFile, writeFisherFile, type FisherTask } from './fisher-file.js';
import { diagonalFisher, type FisherProgress } from './fisher.js';
import { heldWeightsOf, plannedShapes, valuesNow, type HeldKind, type HeldWeights } from './held.js';

export interface EwcOptions {
  readonly lambda: number;
  readonly data?: Json;
  readonly samples?: number;
  readonly batchSize?: number;
  readonly on?: HeldKind;
  /** Absolute. */
  readonly fisherFile?: string;
  readonly onlineDecay?: number;
  readonly reportEverySteps?: number;
  /** The old task's data, in place of `data`. */
  readonly batches?: BatchSource;
  readonly logger?: Logger;
}

/** Batches of the old task that `retainedLoss` is taken over. */
const retainedBatches = 4;

interface Prepared {
  readonly consolidation: Consolidation;
  readonly batches: BatchSource | null;
}

async function openBatches(options: EwcOptions, run: StrategyRun): Promise<BatchSource | null> {
  if (options.batches !== undefined) return options.batches;
  if (options.data === undefined) return null;
  if (run.openData === undefined)
    throw new WhetstoneError('CONFIG_INVALID', 'This run cannot open data for a strategy.', {
      place: { path: 'companions' },
      hint: 'Give the strategy its batches, or a fisherFile.',
    });
  return run.openData(options.data, { batchSize: options.batchSize ?? 1, shuffled: true });
}

const disposeAll = (...maps: readonly ReadonlyMap<string, Tensor>[]): void => {
  for (const map of maps) dispose([...map.values()]);
};

/** From the file, from the data, or from both: what the old tasks ask of the weights. */
async function prepare(
  model: LanguageModel,
  held: HeldWeights,
  run: StrategyRun,
  options: EwcOptions,
): Promise<Prepared> {
  const { fisherFile, samples = 200, batchSize = 1, onlineDecay = 1, logger } = options;
  const batches = await openBatches(options, run);
  const isThere = fisherFile !== undefined && existsSync(fisherFile);
  if (batches === null && !isThere) throw nothingToHold(fisherFile);
  const stored = isThere ? await readFisherFile(fisherFile, held.shapes()) : null;
  try {
    if (stored !== null && fisherFile !== undefined) checkAnchor(model, stored.consolidation.anchor, held, fisherFile);
  } catch (error) {
    if (stored !== null) disposeAll(stored.consolidation.fisher, stored.consolidation.anchor);
    throw error;
  }
  if (batches === null)
    return { consolidation: stored?.consolidation ?? { fisher: new Map(), anchor: new Map() }, batches };
  const task: FisherTask = { contentHash: batches.summary.contentHash, samples, batchSize, seed: run.seed };
  if (stored !== null && JSON.stringify(stored.provenance.tasks.at(-1)) === JSON.stringify(task)) {
    logger?.info('ewc: the Fisher information of this data was estimated before and is reused', { fisherFile });
    return { consolidation: stored.consolidation, batches };
  }
  const onProgress =
    logger === undefined ? undefined : reportProgress(logger, Math.min(samples, batches.summary.conversations));
  const fresh = await held.withProbes((probes) =>
    diagonalFisher(model, probes, batches.epoch(0), { samples, ...(onProgress === undefined ? {} : { onProgress }) }),
  );
  const fisher = stored === null ? fresh : addFisher(stored.consolidation.fisher, fresh, onlineDecay);
  if (stored !== null) disposeAll(stored.consolidation.fisher, stored.consolidation.anchor, fresh);
  const consolidation = { fisher, anchor: valuesNow(held) };
  if (fisherFile !== undefined && (run.worker?.rank ?? 0) === 0)
    await writeFisherFile(fisherFile, consolidation, {
      model: run.modelFolder,
      tasks: [...(stored?.provenance.tasks ?? []), task],
    });
  return { consolidation, batches };
}

const nothingToHold = (fisherFile: string | undefined): WhetstoneError =>
  new WhetstoneError('CONFIG_INVALID', "ewc needs the old task's data, or a fisherFile that exists.", {
    place: { path: 'companions' },
    ...(fisherFile === undefined ? {} : { found: fisherFile }),
  });

/** A line now and then: at the first sample, then every few seconds, and at the last. */
function reportProgress(logger: Logger, wanted: number): (progress: FisherProgress) => void {
  const started = performance.now();
  let told = -Infinity;
  return ({ samples, loss }) => {
    const now = performance.now();
    if (now - told < 3000 && samples < wanted) return;
    told = now;
    const secondsLeft = Math.max(0, Math.round((((now - started) / samples) * (wanted - samples)) / 1000));
    logger.info(
      `ewc: Fisher information, sample ${Math.min(samples, wanted)} of ${wanted}, loss ${loss.toFixed(3)}, ` +
        `${secondsLeft} s left`,
    );
  };
}

/**
 * How far the anchor may be from the weights now, as a share of its own length: training moves them by a few
 * hundredths, another model is beyond 1.
 */
const farthestAnchor = 0.5;

/**
 * Another model of the same shapes is told by its weights. Adapters' own parameters start anew each time and tell
 * nothing.
 */
function checkAnchor(model: LanguageModel, anchor: ReadonlyMap<string, Tensor>, held: HeldWeights, file: string): void {
  const [away, length] = tidy(() => {
    const pairs = [...held.all()].flatMap(([name, value]) => {
      const origin = model.parameters.has(name) ? anchor.get(name) : undefined;
      return origin === undefined ? [] : [[sum(square(sub(value, origin))), sum(square(origin))] as const];
    });
    if (pairs.length === 0) return [0, 1];
    return [0, 1].map((at) => addN(pairs.map((pair) => pair[at] as Tensor)).dataSync()[0] ?? NaN);
  }) as [number, number];
  const distance = Math.sqrt(away / length);
  if (!(distance > farthestAnchor)) return;
  throw new WhetstoneError(
    'CHECKPOINT_INVALID',
    'The Fisher file is of another model: its weights have the same shapes and other values.',
    {
      place: { file },
      expected: `weights within ${farthestAnchor} of the anchor's length`,
      found: `${distance.toFixed(2)} of it`,
      hint: 'Give a file of this model, or another name to make one.',
    },
  );
}

/** Gives the mean loss over the first batches of the old task, in nats a token. */
async function lossOnFirstBatches(source: BatchSource): Promise<(model: LanguageModel) => number> {
  const kept: Parameters<typeof targetsOf>[0][] = [];
  for await (const batch of source.epoch(0)) {
    if (targetsOf(batch).targets.length > 0) kept.push(batch);
    if (kept.length === retainedBatches) break;
  }
  return (model) => {
    let [sum, tokens] = [0, 0];
    for (const batch of kept) {
      const supervised = targetsOf(batch);
      const loss = tidy(() => meanLoss(model, batch, supervised).dataSync()[0] ?? NaN);
      sum += loss * supervised.targets.length;
      tokens += supervised.targets.length;
    }
    return sum / tokens;
  };
}

/**
 * Elastic weight consolidation (Kirkpatrick et al. 2017) beside any owner of parameters: keeps what mattered to an old
 * task near its value. The parameters' values at attaching are θ*; each report gets `ewcPenalty`.
 */
export function ewcStrategy(options: EwcOptions): Strategy {
  const { fisherFile, on = 'parameters' } = options;
  return {
    role: 'companion',
    plan: async (_model, owner) => {
      const isThere = fisherFile !== undefined && existsSync(fisherFile);
      if (options.batches === undefined && options.data === undefined && !isThere) throw nothingToHold(fisherFile);
      const shapes = owner === null ? null : plannedShapes(on, owner);
      if (shapes !== null && isThere) await checkFisherFile(fisherFile, shapes);
      return { trainable: new Map() };
    },
    attach: async (model, run) => {
      const { owner } = run;
      if (owner === undefined)
        throw new WhetstoneError('CONFIG_CONFLICT', 'ewc works beside a strategy that owns the parameters.', {
          place: { path: 'companions' },
        });
      const held = heldWeightsOf(on, owner);
      const { consolidation, batches } = await prepare(model, held, run, options);
      const halfLambda = keep(scalar(options.lambda / 2));
      const { reportEverySteps = 0 } = options;
      const retainedLoss = reportEverySteps === 0 || batches === null ? null : await lossOnFirstBatches(batches);
      return {
        trainable: new Map(),
        penalty: (step) => {
          const penalty = consolidationPenalty(held.values(), consolidation, halfLambda);
          step.record('ewcPenalty', penalty);
          return penalty;
        },
        beforeStep: ({ step, record }) => {
          if (retainedLoss === null || step % reportEverySteps !== 0) return;
          const { training } = model;
          model.training = false;
          record('retainedLoss', retainedLoss(model));
          model.training = training;
        },
        // The anchor is where the run began, which a resumed run cannot see any more.
        saveState: () => ({
          tensors: new Map([
            ...prefixed('fisher.', consolidation.fisher),
            ...prefixed('anchor.', consolidation.anchor),
          ]),
          values: null,
        }),
        loadState: ({ tensors }) => {
          for (const [prefix, map] of [
            ['fisher.', consolidation.fisher],
            ['anchor.', consolidation.anchor],
          ] as const)
            replaceAll(map as Map<string, Tensor>, prefix, tensors);
        },
        dispose: () => {
          disposeAll(consolidation.fisher, consolidation.anchor);
          halfLambda.dispose();
        },
      };
    },
  };
}

const prefixed = (prefix: string, tensors: ReadonlyMap<string, Tensor>): [string, Tensor][] =>
  [...tensors].map(([name, tensor]) => [prefix + name, tensor]);

function replaceAll(map: Map<string, Tensor>, prefix: string, saved: ReadonlyMap<string, Tensor>): void {
  for (const [name, before] of map) {
    const value = saved.get(prefix + name);
    if (value === undefined)
      throw new WhetstoneError('CHECKPOINT_INVALID', 'The checkpoint lacks what ewc keeps of the old task.', {
        place: { tensor: prefix + name },
      });
    map.set(name, keep(clone(value)));
    before.dispose();
  }
}
