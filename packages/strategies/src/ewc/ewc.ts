import { addN, clone, dispose, keep, scalar, square, sub, sum, tidy, type Tensor } from '@tensorflow/tfjs-core';
import {
  defaultsOf,
  WhetstoneError,
  type BatchSource,
  type LanguageModel,
  type Logger,
  type Strategy,
  type StrategyRun,
  type UnusedOption,
} from '@whetstone/core/contract';
import { checkWritableFile, exists as isPresent } from '@whetstone/core/files';
import { meanLoss, targetsOf } from '../support/batch-loss.js';
import { addFisher, consolidationPenalty, type Consolidation } from './consolidation.js';
import { checkFisherFile, readFisherFile, writeFisherFile, type FisherTask } from './fisher-file.js';
import { diagonalFisher, type FisherProgress } from './fisher.js';
import { configSchema, type EwcOptions } from './options.js';
import { anchoredWeightsOf, copyValues, plannedShapes, type AnchoredWeights } from './anchored-weights.js';

/** Number of batches of the old task from which `retainedLoss` is computed. */
const retainedBatches = 4;

interface Prepared {
  readonly consolidation: Consolidation;
  readonly batches: BatchSource | null;
}

/** The options with the defaults of the schema. */
type ResolvedOptions = ReturnType<typeof resolveOptions>;

const defaults = defaultsOf(configSchema);
const resolveOptions = (options: EwcOptions) => ({ ...defaults, ...options });

async function openBatches(options: ResolvedOptions, run: StrategyRun): Promise<BatchSource | null> {
  if (options.batches !== undefined) return options.batches;
  if (options.data === undefined) return null;
  if (run.openData === undefined)
    throw new WhetstoneError('CONFIG_INVALID', 'This run does not support data of a strategy.', {
      place: { path: 'companions' },
      hint: 'Set fisherFile, or pass batches to the strategy.',
    });
  return run.openData(options.data, { batchSize: options.batchSize, shuffled: true, title: 'ewc data' });
}

const disposeAll = (...maps: readonly ReadonlyMap<string, Tensor>[]): void => {
  for (const map of maps) dispose([...map.values()]);
};

/** Reads or estimates the consolidation: from the Fisher file, from the data, or from both. */
async function prepare(
  model: LanguageModel,
  weights: AnchoredWeights,
  run: StrategyRun,
  options: ResolvedOptions,
): Promise<Prepared> {
  const { fisherFile, samples, batchSize, onlineDecay, logger } = options;
  const batches = await openBatches(options, run);
  const exists = fisherFile !== undefined && isPresent(fisherFile);
  if (batches === null && !exists) throw missingOldTask(fisherFile);
  const stored = exists ? await readFisherFile(fisherFile, weights.shapes()) : null;
  try {
    if (stored !== null && fisherFile !== undefined)
      checkAnchor(model, stored.consolidation.anchor, weights, fisherFile);
  } catch (error) {
    if (stored !== null) disposeAll(stored.consolidation.fisher, stored.consolidation.anchor);
    throw error;
  }
  if (batches === null)
    return { consolidation: stored?.consolidation ?? { fisher: new Map(), anchor: new Map() }, batches };
  const task: FisherTask = { contentHash: batches.summary.contentHash, samples, batchSize, seed: run.seed };
  const tasks = stored?.provenance.tasks ?? [];
  if (stored !== null && JSON.stringify(tasks.at(-1)) === JSON.stringify(task)) {
    logger?.info('ewc: the Fisher information of this data is read from the file', { fisherFile });
    return { consolidation: stored.consolidation, batches };
  }
  if (tasks.some((earlier) => JSON.stringify(earlier) === JSON.stringify(task)))
    run.warn?.(
      `ewc: ${fisherFile} contains the Fisher information of this data, followed by that of other data. It is ` +
        'added a second time. To begin anew, delete the file.',
    );
  const writes = fisherFile !== undefined && (run.worker?.rank ?? 0) === 0;
  if (writes) await checkWritableFile(fisherFile);
  const onProgress =
    logger === undefined ? undefined : reportProgress(logger, Math.min(samples, batches.summary.conversations));
  const estimated = await weights.withProbes((probes) =>
    diagonalFisher(model, probes, batches.epoch(0), { samples, onProgress }),
  );
  const fisher = stored === null ? estimated : addFisher(stored.consolidation.fisher, estimated, onlineDecay);
  if (stored !== null) disposeAll(stored.consolidation.fisher, stored.consolidation.anchor, estimated);
  const consolidation = { fisher, anchor: copyValues(weights) };
  if (writes)
    await writeFisherFile(fisherFile, consolidation, {
      model: run.modelFolder,
      tasks: [...tasks, task],
    });
  return { consolidation, batches };
}

const missingOldTask = (fisherFile: string | undefined): WhetstoneError =>
  new WhetstoneError('CONFIG_INVALID', 'ewc requires data of the old task, or an existing fisherFile.', {
    place: { path: 'companions' },
    found: fisherFile,
  });

/** Returns a function that logs progress: at the first sample, every few seconds, and at the last sample. */
function reportProgress(logger: Logger, total: number): (progress: FisherProgress) => void {
  const started = performance.now();
  let lastReport = -Infinity;
  return ({ samples, loss }) => {
    const now = performance.now();
    if (now - lastReport < 3000 && samples < total) return;
    lastReport = now;
    const secondsLeft = Math.max(0, Math.round((((now - started) / samples) * (total - samples)) / 1000));
    logger.info(
      `ewc: Fisher information, sample ${Math.min(samples, total)} of ${total}, loss ${loss.toFixed(3)}, ` +
        `${secondsLeft} s left`,
    );
  };
}

/**
 * Maximum distance between the anchor and the current weights, relative to the norm of the anchor. Training changes
 * weights by a few hundredths of it, while those of another model differ by more than 1.
 */
const maxAnchorDistance = 0.5;

/**
 * Checks that the anchor belongs to this model, by the distance of the weights. Parameters of adapters are not
 * compared, because they are initialised again in each run.
 *
 * @throws `CHECKPOINT_INVALID` if the distance is too large
 */
function checkAnchor(
  model: LanguageModel,
  anchor: ReadonlyMap<string, Tensor>,
  weights: AnchoredWeights,
  file: string,
): void {
  const [away, length] = tidy(() => {
    const pairs = [...weights.all()].flatMap(([name, value]) => {
      const origin = model.parameters.has(name) ? anchor.get(name) : undefined;
      return origin === undefined ? [] : [[sum(square(sub(value, origin))), sum(square(origin))] as const];
    });
    if (pairs.length === 0) return [0, 1];
    return [0, 1].map((at) => addN(pairs.map((pair) => pair[at] as Tensor)).dataSync()[0] ?? NaN);
  }) as [number, number];
  const distance = Math.sqrt(away / length);
  if (!(distance > maxAnchorDistance)) return;
  throw new WhetstoneError(
    'CHECKPOINT_INVALID',
    'The Fisher file belongs to another model: its weights have the same shapes but different values.',
    {
      place: { file },
      expected: `a relative distance of at most ${maxAnchorDistance} between weights and anchor`,
      found: distance.toFixed(2),
      hint: 'Use a file of this model, or a new file name to create one.',
    },
  );
}

/** Returns a function that computes the mean loss on the first batches of the old task, in nats per token. */
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
 * Creates the companion strategy `ewc`: elastic weight consolidation (Kirkpatrick et al. 2017). A penalty keeps the
 * weights that are important for an old task close to their values θ* at the start. Reports contain `ewcPenalty`.
 */
export function ewcStrategy(given: EwcOptions): Strategy {
  const options = resolveOptions(given);
  const { fisherFile, on, reportEverySteps } = options;
  return {
    role: 'companion',
    checkRun: () => unusedInRun(options),
    plan: async (_model, owner) => {
      const exists = fisherFile !== undefined && isPresent(fisherFile);
      if (options.batches === undefined && options.data === undefined && !exists) throw missingOldTask(fisherFile);
      const shapes = owner === null ? null : plannedShapes(on, owner);
      if (shapes !== null && exists) await checkFisherFile(fisherFile, shapes);
      return { trainable: new Map() };
    },
    attach: async (model, run) => {
      const { owner } = run;
      if (owner === undefined)
        throw new WhetstoneError('CONFIG_CONFLICT', 'ewc requires a strategy that owns the trained parameters.', {
          place: { path: 'companions' },
        });
      const weights = anchoredWeightsOf(on, owner);
      const { consolidation, batches } = await prepare(model, weights, run, options);
      const halfLambda = keep(scalar(options.lambda / 2));
      const retainedLoss = reportEverySteps === 0 || batches === null ? null : await lossOnFirstBatches(batches);
      return {
        trainable: new Map(),
        penalty: (step) => {
          const penalty = consolidationPenalty(weights.values(), consolidation, halfLambda);
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
        // The anchor is the state at the start of the run, which a resumed run cannot reconstruct.
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

/** Returns the options that change nothing. */
function unusedInRun(options: ResolvedOptions): UnusedOption[] {
  const { lambda, fisherFile, onlineDecay, reportEverySteps } = options;
  const unused: UnusedOption[] = [];
  const hasData = options.data !== undefined || options.batches !== undefined;
  if (lambda === 0) {
    const measured = hasData && reportEverySteps > 0 ? ', and ewc only reports retainedLoss' : '';
    unused.push({ path: 'lambda', reason: `with 0 the penalty is 0${measured}` });
  }
  if (!hasData)
    for (const path of ['samples', 'batchSize', 'reportEverySteps', 'onlineDecay'] as const)
      if (options[path] !== defaults[path]) unused.push({ path, reason: 'it applies to data, which is not set' });
  if (hasData && onlineDecay !== defaults.onlineDecay && (fisherFile === undefined || !isPresent(fisherFile)))
    unused.push({ path: 'onlineDecay', reason: 'there is no earlier task: fisherFile does not exist' });
  return unused;
}

const prefixed = (prefix: string, tensors: ReadonlyMap<string, Tensor>): [string, Tensor][] =>
  [...tensors].map(([name, tensor]) => [prefix + name, tensor]);

function replaceAll(map: Map<string, Tensor>, prefix: string, saved: ReadonlyMap<string, Tensor>): void {
  for (const [name, before] of map) {
    const value = saved.get(prefix + name);
    if (value === undefined)
      throw new WhetstoneError('CHECKPOINT_INVALID', 'The checkpoint lacks the Fisher information or anchor of ewc.', {
        place: { tensor: prefix + name },
      });
    map.set(name, keep(clone(value)));
    before.dispose();
  }
}
