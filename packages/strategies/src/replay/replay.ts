import { existsSync } from 'node:fs';
import { tidy } from '@tensorflow/tfjs-core';
import {
  defaultsOf,
  WhetstoneError,
  type Batch,
  type BatchSource,
  type LanguageModel,
  type Strategy,
  type StrategyRun,
} from '@whetstone/core/contract';
import { meanLoss, targetsOf } from '../support/batch-loss.js';
import { createRandom } from '@whetstone/core/random';
import { configSchema, type ReplayOptions } from './options.js';
import { emptyBuffer, offerRows, readBuffer, writeBuffer, type ReplayBuffer } from './buffer.js';
import { fromPlainRow, plainRow, samplesOf, targetsIn, withSamples, type PlainRow, type ReplayRow } from './rows.js';

/** The options with the defaults of the schema. */
type ResolvedOptions = ReturnType<typeof resolveOptions>;

const resolveOptions = (options: ReplayOptions) => ({ ...defaultsOf(configSchema), ...options });

async function openBatches(options: ResolvedOptions, run: StrategyRun): Promise<BatchSource | null> {
  if (options.batches !== undefined) return options.batches;
  if (options.data === undefined) return null;
  if (run.openData === undefined)
    throw new WhetstoneError('CONFIG_INVALID', 'This run does not support data of a strategy.', {
      place: { path: 'companions' },
      hint: 'Set bufferFile, or pass batches to the strategy.',
    });
  return run.openData(options.data, { batchSize: 8, learned: true });
}

async function* supervisedSamples(source: BatchSource): AsyncGenerator<ReplayRow> {
  for await (const batch of source.epoch(0)) yield* samplesOf(batch);
}

/** Returns the samples of the first `batches` batches of epoch 0. */
async function rowsBefore(source: BatchSource, batches: number): Promise<ReplayRow[]> {
  const rows: ReplayRow[] = [];
  let index = 0;
  for await (const batch of source.epoch(0)) {
    if (index++ >= batches) break;
    rows.push(...samplesOf(batch));
  }
  return rows;
}

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

/** Returns the rows to replay: those of the buffer file and a sample of the configured data. */
async function fillBuffer(model: LanguageModel, run: StrategyRun, options: ResolvedOptions): Promise<ReplayBuffer> {
  const { bufferFile, bufferSize } = options;
  const stored =
    bufferFile !== undefined && existsSync(bufferFile)
      ? await readBuffer(bufferFile, model.vocabularySize)
      : emptyBuffer;
  const batches = await openBatches(options, run);
  const rows = batches === null ? [] : await collect(supervisedSamples(batches));
  const buffer = offerRows(stored, rows, bufferSize, createRandom(run.seed, 'replay buffer'));
  if (buffer.rows.length === 0 && bufferFile === undefined)
    throw new WhetstoneError('DATA_EMPTY', 'The strategy replay has neither data nor a bufferFile.', {
      place: { path: 'companions' },
      hint: 'Set data or bufferFile.',
    });
  return buffer;
}

/** Computes the mean loss of each row with the current model. */
function lossesOf(model: LanguageModel, rows: readonly ReplayRow[]): Float64Array {
  return Float64Array.from(rows, (row) => {
    const batch: Batch = {
      ...row,
      rows: 1,
      length: row.ids.length,
      samples: 1,
      tokens: row.ids.length,
      supervisedTokens: targetsIn(row),
    };
    return tidy(() => meanLoss(model, batch, targetsOf(batch)).dataSync()[0] ?? 0);
  });
}

/** Draws an index with probability proportional to its weight. `sums` are the cumulative sums of the weights. */
function drawByWeight(sums: Float64Array, uniform: number): number {
  const threshold = uniform * (sums.at(-1) ?? 0);
  let [low, high] = [0, sums.length - 1];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((sums[middle] ?? 0) > threshold) high = middle;
    else low = middle + 1;
  }
  return low;
}

function cumulativeSums(weights: Float64Array): Float64Array {
  let sum = 0;
  return weights.map((weight) => (sum += weight));
}

interface SavedReplay {
  readonly count: number;
  /** Number of rows that were offered to the buffer file. */
  readonly offered: number;
  readonly rows: readonly PlainRow[] | null;
  readonly weights: readonly number[] | null;
}

/**
 * Creates the companion strategy `replay`, which mixes earlier or general data into training. Replayed rows are added
 * to each batch, so that their expected share of all samples or tokens is `ratio`. The choice depends only on seed,
 * epoch and index of the batch, so that a resumed run makes the same choice.
 */
export function replayStrategy(given: ReplayOptions): Strategy {
  const options = resolveOptions(given);
  const { ratio, unit, bufferFile, bufferSize, priority } = options;
  if (!(ratio > 0 && ratio < 1))
    throw new WhetstoneError('CONFIG_INVALID', 'The ratio of replayed data is out of range.', {
      place: { path: 'companions' },
      expected: 'more than 0 and less than 1',
      found: String(ratio),
    });
  return {
    role: 'companion',
    attach: async (model, run) => {
      const buffer = await fillBuffer(model, run, options);
      let { rows, offered } = buffer;
      let isLastStep = false;
      let sums = cumulativeSums(priority === 'loss' ? lossesOf(model, rows) : new Float64Array(rows.length).fill(1));
      const meanTokens = rows.reduce((sum, { ids }) => sum + ids.length, 0) / Math.max(1, rows.length);

      const mixed = (batch: Batch, epoch: number, index: number): Batch => {
        if (rows.length === 0) return batch;
        const random = createRandom(run.seed, `replay ${epoch} ${index}`);
        const share = ratio / (1 - ratio);
        const expected = unit === 'sample' ? share * batch.samples : (share * batch.tokens) / meanTokens;
        const count = Math.floor(expected + random.uniform());
        return withSamples(
          batch,
          Array.from({ length: count }, () => rows[drawByWeight(sums, random.uniform())]).filter(
            (row) => row !== undefined,
          ),
        );
      };

      return {
        trainable: new Map(),
        beforeStep: ({ step }) => {
          isLastStep = step + 1 >= run.totalSteps;
        },
        wrapData: (source) => ({
          ...source,
          async *epoch(epoch, epochOptions = {}) {
            let index = epochOptions.skip ?? 0;
            const target = epoch === 0 && (run.worker?.rank ?? 0) === 0 ? (bufferFile ?? null) : null;
            // A resumed run also offers the rows from before the checkpoint.
            const seen = target === null || index === 0 ? [] : await rowsBefore(source, index);
            let isComplete = false;
            try {
              for await (const batch of source.epoch(epoch, epochOptions)) {
                if (target !== null) seen.push(...samplesOf(batch));
                yield mixed(batch, epoch, index);
                index++;
              }
              isComplete = true;
            } finally {
              // An interrupted run does not write the file; it offers its rows after it is resumed.
              if (target !== null && (isComplete || isLastStep))
                await writeBuffer(
                  target,
                  offerRows({ rows, offered }, seen, bufferSize, createRandom(run.seed, 'replay kept')),
                );
            }
          },
        }),
        // The buffer file changes during the run, so the rows that this run replays are stored in its checkpoints.
        saveState: () => ({
          tensors: new Map(),
          values: {
            count: rows.length,
            offered,
            rows: bufferFile === undefined ? null : rows.map(plainRow),
            weights: priority === 'loss' ? [...sums] : null,
          },
        }),
        loadState: ({ values }) => {
          const saved = values as unknown as SavedReplay;
          if (saved.rows !== null) {
            rows = saved.rows.map(fromPlainRow);
            offered = saved.offered;
            sums = cumulativeSums(new Float64Array(rows.length).fill(1));
          }
          if (saved.count !== rows.length)
            throw new WhetstoneError('CHECKPOINT_INVALID', 'The data to replay has changed since the checkpoint.', {
              expected: `${saved.count} rows`,
              found: `${rows.length} rows`,
            });
          if (saved.weights !== null) sums = Float64Array.from(saved.weights);
        },
        dispose: () => {},
      };
    },
  };
}
