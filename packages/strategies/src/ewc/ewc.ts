import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { clone, dispose, keep, scalar, tidy, type Tensor } from '@tensorflow/tfjs-core';
import { definePlugin, WhetstoneError, type Attachment, type BatchSource, type Json, type LanguageModel, type Logger, type Strategy, type StrategyRun } from '@whetstone/core/contract';
import { meanLoss, targetsOf } from '../support/batch-loss.js';
import { addFisher, anchorOf, consolidationPenalty, type Consolidation } from './consolidation.js';
import { readFisherFile, writeFisherFile, type FisherTask } from './fisher-file.js';
import { diagonalFisher } from './fisher.js';

const configSchema = {
  type: 'object',
  properties: {
    lambda: { type: 'number', minimum: 0, default: 100, description: 'Weight of the penalty λ/2·ΣF(θ−θ*)².' },
    data: { anyOf: [{ type: 'string' }, { type: 'array', items: { type: 'string' }, minItems: 1 }, { type: 'object' }], description: 'Data of the old task, as data.train is given.' },
    samples: { type: 'integer', minimum: 1, default: 200, description: 'Samples that the Fisher information is estimated from.' },
    batchSize: { type: 'integer', minimum: 1, default: 1, description: '1: exact, sample by sample; more: faster, estimated from gradients of batches.' },
    fisherFile: { type: 'string', minLength: 1, description: 'Keeps the Fisher information and the anchor: reused where it fits, else written.' },
    onlineDecay: { type: 'number', minimum: 0, maximum: 1, default: 1, description: 'What of earlier tasks in fisherFile is kept when a new one is added (online EWC).' },
    reportEverySteps: { type: 'integer', minimum: 1, description: 'Report the loss on the old task as `retainedLoss` this often.' },
  },
  additionalProperties: false,
} as const;

export interface EwcOptions {
  readonly lambda: number;
  readonly data?: Json;
  readonly samples?: number;
  readonly batchSize?: number;
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
  if (run.openData === undefined) throw new WhetstoneError('CONFIG_INVALID', 'This run cannot open data for a strategy.', { place: { path: 'companions' }, hint: 'Give the strategy its batches, or a fisherFile.' });
  return run.openData(options.data, { batchSize: options.batchSize ?? 1 });
}

const disposeAll = (...maps: readonly ReadonlyMap<string, Tensor>[]): void => {
  for (const map of maps) dispose([...map.values()]);
};

/** From the file, from the data, or from both: what the old tasks ask of the parameters. */
async function prepare(model: LanguageModel, owner: Attachment, run: StrategyRun, options: EwcOptions): Promise<Prepared> {
  const { fisherFile, samples = 200, batchSize = 1, onlineDecay = 1, logger } = options;
  const parameters = owner.trainable;
  const batches = await openBatches(options, run);
  const stored = fisherFile !== undefined && existsSync(fisherFile) ? await readFisherFile(fisherFile, new Map([...parameters].map(([name, { shape }]) => [name, shape]))) : null;
  if (batches === null) {
    if (stored !== null) return { consolidation: stored.consolidation, batches };
    throw new WhetstoneError('CONFIG_INVALID', 'ewc needs the old task\'s data, or a fisherFile that exists.', { place: { path: 'companions' }, ...(fisherFile === undefined ? {} : { found: fisherFile }) });
  }
  const task: FisherTask = { contentHash: batches.summary.contentHash, samples, batchSize };
  if (stored !== null && JSON.stringify(stored.provenance.tasks.at(-1)) === JSON.stringify(task)) {
    logger?.info('ewc: the Fisher information of this data was estimated before and is reused', { fisherFile });
    return { consolidation: stored.consolidation, batches };
  }
  const fresh = await diagonalFisher(model, parameters, batches.epoch(0), {
    samples,
    onProgress: (progress) => logger?.info(`ewc: Fisher information, sample ${progress.samples} of at most ${samples}`, { loss: progress.loss }),
  });
  const fisher = stored === null ? fresh : addFisher(stored.consolidation.fisher, fresh, onlineDecay);
  if (stored !== null) disposeAll(stored.consolidation.fisher, stored.consolidation.anchor, fresh);
  const consolidation = { fisher, anchor: anchorOf(parameters) };
  if (fisherFile !== undefined && (run.worker?.rank ?? 0) === 0) await writeFisherFile(fisherFile, consolidation, { model: run.modelFolder, tasks: [...(stored?.provenance.tasks ?? []), task] });
  return { consolidation, batches };
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
 * Elastic weight consolidation (Kirkpatrick et al. 2017) beside any owner of parameters: keeps what mattered to an old task near its
 * value. The parameters' values at attaching are θ*; each report gets `ewcPenalty`.
 */
export function ewcStrategy(options: EwcOptions): Strategy {
  return {
    role: 'companion',
    attach: async (model, run) => {
      const { owner } = run;
      if (owner === undefined) throw new WhetstoneError('CONFIG_CONFLICT', 'ewc works beside a strategy that owns the parameters.', { place: { path: 'companions' } });
      const { consolidation, batches } = await prepare(model, owner, run, options);
      const halfLambda = keep(scalar(options.lambda / 2));
      const { reportEverySteps } = options;
      const retainedLoss = reportEverySteps === undefined || batches === null ? null : await lossOnFirstBatches(batches);
      return {
        trainable: new Map(),
        penalty: (step) => {
          const penalty = consolidationPenalty(owner.trainable, consolidation, halfLambda);
          step.record('ewcPenalty', penalty);
          return penalty;
        },
        beforeStep: ({ step, record }) => {
          if (retainedLoss === null || reportEverySteps === undefined || step % reportEverySteps !== 0) return;
          const { training } = model;
          model.training = false;
          record('retainedLoss', retainedLoss(model));
          model.training = training;
        },
        // The anchor is where the run began, which a resumed run cannot see any more.
        saveState: () => ({ tensors: new Map([...prefixed('fisher.', consolidation.fisher), ...prefixed('anchor.', consolidation.anchor)]), values: null }),
        loadState: ({ tensors }) => {
          for (const [prefix, map] of [['fisher.', consolidation.fisher], ['anchor.', consolidation.anchor]] as const) replaceAll(map as Map<string, Tensor>, prefix, tensors);
        },
        dispose: () => {
          disposeAll(consolidation.fisher, consolidation.anchor);
          halfLambda.dispose();
        },
      };
    },
  };
}

const prefixed = (prefix: string, tensors: ReadonlyMap<string, Tensor>): [string, Tensor][] => [...tensors].map(([name, tensor]) => [prefix + name, tensor]);

function replaceAll(map: Map<string, Tensor>, prefix: string, saved: ReadonlyMap<string, Tensor>): void {
  for (const [name, before] of map) {
    const value = saved.get(prefix + name);
    if (value === undefined) throw new WhetstoneError('CHECKPOINT_INVALID', 'The checkpoint lacks what ewc keeps of the old task.', { place: { tensor: prefix + name } });
    map.set(name, keep(clone(value)));
    before.dispose();
  }
}

export const ewc = definePlugin({
  apiVersion: 1,
  kind: 'strategy',
  name: 'ewc',
  description: 'Elastic weight consolidation: keeps what mattered to an old task, beside any other strategy.',
  configSchema,
  create: ({ fisherFile, ...options }, { baseFolder, logger }) => ewcStrategy({ ...options, logger, ...(fisherFile === undefined ? {} : { fisherFile: resolve(baseFolder, fisherFile) }) } as EwcOptions),
});
