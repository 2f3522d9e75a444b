import { tidy } from '@tensorflow/tfjs-core';
import {
  defaultsOf,
  WhetstoneError,
  type Batch,
  type Json,
  type LanguageModel,
  type RunOutline,
  type Strategy,
  type UnusedOption,
} from '@whetstone/core/contract';
import { crossEntropy } from '@whetstone/core/ops';
import { createRandom } from '@whetstone/core/random';
import { fromPlainRow, plainRow, samplesOf, withSamples, type PlainRow, type ReplayRow } from '../replay/rows.js';
import { targetsOf } from '../support/batch-loss.js';
import { configSchema, type HardSamplesOptions } from './options.js';
import { drawSamples, keyOf, offerSamples, type PooledSample } from './pool.js';

/** Number of samples per forward pass when losses are measured. */
const MEASURE_BATCH_SIZE = 8;

const defaults = defaultsOf(configSchema);

const emptyBatch: Batch = {
  rows: 0,
  length: 0,
  ids: new Int32Array(0),
  labels: new Int32Array(0),
  segmentIds: new Int32Array(0),
  positionIds: new Int32Array(0),
  samples: 0,
  tokens: 0,
  supervisedTokens: 0,
};

/** Computes the mean loss of each row with the current model; rows of similar length share a batch. */
async function lossesOf(model: LanguageModel, rows: readonly ReplayRow[]): Promise<number[]> {
  const losses = rows.map(() => 0);
  const order = rows.map((_, index) => index).sort((a, b) => (rows[a]?.ids.length ?? 0) - (rows[b]?.ids.length ?? 0));
  for (let start = 0; start < order.length; start += MEASURE_BATCH_SIZE) {
    const indices = order.slice(start, start + MEASURE_BATCH_SIZE);
    const batch = withSamples(
      emptyBatch,
      indices.flatMap((index) => rows[index] ?? []),
    );
    const { positions, targets } = targetsOf(batch);
    const each = tidy(() => crossEntropy(model.logits(batch, positions), targets));
    const values = await each.data();
    each.dispose();
    const counts = indices.map(() => 0);
    for (const [target, position] of positions.entries()) {
      const row = Math.floor(position / batch.length);
      const [index, value] = [indices[row] ?? 0, values[target] ?? 0];
      losses[index] = (losses[index] ?? 0) + value;
      counts[row] = (counts[row] ?? 0) + 1;
    }
    for (const [row, index] of indices.entries()) losses[index] = (losses[index] ?? 0) / Math.max(1, counts[row] ?? 0);
  }
  return losses;
}

/** Returns the options that change nothing in a run of this length. */
function unusedInRun({ everyBatches, poolSize, ignoreHardest }: HardSamplesOptions, run: RunOutline): UnusedOption[] {
  const unused: UnusedOption[] = [];
  if (everyBatches >= run.batches)
    unused.push({
      path: 'everyBatches',
      reason:
        `losses would be measured after ${everyBatches} batches, but the run has only ${run.batches}: no sample is ` +
        'repeated',
    });
  else if (ignoreHardest > 0 && ignoreHardest * poolSize < 1 && ignoreHardest !== defaults.ignoreHardest)
    unused.push({ path: 'ignoreHardest', reason: `it is less than one of the ${poolSize} samples of the pool` });
  return unused;
}

interface SavedPool {
  readonly batches: number;
  /** Checkpoints of earlier versions lack the keys. */
  readonly pool: readonly (Omit<PooledSample, 'row' | 'key'> & { readonly row: PlainRow; readonly key?: number })[];
}

/**
 * Creates the companion strategy `hard-samples`, which repeats samples with a high loss. It keeps a pool of samples,
 * measures their losses periodically with the current model, and adds some of them to each batch, with probabilities
 * that increase with the loss. Limits: the share of a batch, the probability and repetitions of a sample, and the
 * exclusion of the very hardest. The choice depends only on the seed, the position in the data and the losses, so that
 * a resumed run makes the same choice.
 */
export function hardSamplesStrategy(given: Partial<HardSamplesOptions> = {}): Strategy {
  const options: HardSamplesOptions = { ...defaults, ...given };
  const { ratio, everyBatches, poolSize } = options;
  if (!(ratio > 0 && ratio <= 0.5))
    throw new WhetstoneError('CONFIG_INVALID', 'The ratio of hard samples is out of range.', {
      place: { path: 'companions' },
      expected: 'more than 0 and at most 0.5',
      found: String(ratio),
    });
  return {
    role: 'companion',
    checkRun: (run) => unusedInRun(options, run),
    attach: (model, { seed }) => {
      let pool: readonly PooledSample[] = [];
      let batches = 0;
      return {
        trainable: new Map(),
        wrapData: (source) => ({
          ...source,
          summary: source.summary,
          batchesPerEpoch: source.batchesPerEpoch,
          async *epoch(epoch, epochOptions = {}) {
            let index = epochOptions.skip ?? 0;
            for await (const batch of source.epoch(epoch, epochOptions)) {
              if (batches > 0 && batches % everyBatches === 0) {
                const losses = await lossesOf(
                  model,
                  pool.map(({ row }) => row),
                );
                pool = pool.map((sample, position) => ({ ...sample, loss: losses[position] ?? null, repeats: 0 }));
              }
              const random = createRandom(seed, `hard samples ${epoch} ${index}`);
              const count = Math.floor((ratio / (1 - ratio)) * batch.samples + random.uniform());
              const drawn = drawSamples(pool, count, options, random);
              pool = offerSamples(drawn.pool, samplesOf(batch), poolSize, seed);
              batches++;
              index++;
              // The state is updated before the batch is yielded, so that a checkpoint after it determines the next
              // one.
              yield withSamples(batch, drawn.rows);
            }
          },
        }),
        saveState: () => ({
          tensors: new Map(),
          values: {
            batches,
            pool: pool.map((sample) => ({ ...sample, row: plainRow(sample.row) })),
          } satisfies SavedPool as unknown as Json,
        }),
        loadState: ({ values }) => {
          const saved = values as unknown as SavedPool;
          ({ batches } = saved);
          pool = saved.pool.map((sample) => {
            const row = fromPlainRow(sample.row);
            return { ...sample, row, key: sample.key ?? keyOf(row, seed) };
          });
        },
        dispose: () => {},
      };
    },
  };
}
