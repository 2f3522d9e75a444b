import { tidy } from '@tensorflow/tfjs-core';
import {
  defaultsOf,
  WhetstoneError,
  type Batch,
  type BatchSource,
  type EpochOptions,
  type LanguageModel,
  type Strategy,
  type StrategyRun,
  type UnusedOption,
} from '@whetstone/core/contract';
import { checkWritableFile, exists } from '@whetstone/core/files';
import { meanLoss, targetsOf } from '../support/batch-loss.js';
import { createRandom } from '@whetstone/core/random';
import { configSchema, type ReplayOptions } from './options.js';
import {
  emptyStoredBuffer,
  openReservoir,
  readBuffer,
  writeBuffer,
  type BufferOfTasks,
  type BufferVocabulary,
  type ReplayBuffer,
  type Reservoir,
  type StoredBuffer,
} from './buffer.js';
import { ReplayedRows } from './replayed-rows.js';
import { samplesOf, targetsIn, type ReplayRow } from './rows.js';

/** The options with the defaults of the schema. */
type ResolvedOptions = ReturnType<typeof resolveOptions>;

const defaults = defaultsOf(configSchema);
const resolveOptions = (options: ReplayOptions) => ({ ...defaults, ...options });

async function openBatches(options: ResolvedOptions, run: StrategyRun): Promise<BatchSource | null> {
  if (options.batches !== undefined) return options.batches;
  if (options.data === undefined) return null;
  if (run.openData === undefined)
    throw new WhetstoneError('CONFIG_INVALID', 'This run does not support data of a strategy.', {
      place: { path: 'companions' },
      hint: 'Set bufferFile, or pass batches to the strategy.',
    });
  return run.openData(options.data, { batchSize: 8, learned: true, title: 'replay data' });
}

/**
 * Returns the contents of the buffer file before this task. An earlier run may have written the file with the same
 * training data: an attempt of this run that was killed before its first checkpoint, or a run that this one repeats.
 */
async function readEarlierTasks(
  { bufferFile, logger }: ResolvedOptions,
  run: StrategyRun,
  vocabulary: BufferVocabulary,
): Promise<BufferOfTasks> {
  if (bufferFile === undefined || !exists(bufferFile)) return emptyStoredBuffer;
  const stored = await readBuffer(bufferFile, vocabulary);
  const { last, tasks } = stored;
  if (last !== null && last.task === run.dataHash) {
    logger?.info('replay: the buffer has the samples of this data already; the run starts from those before them', {
      bufferFile,
    });
    return last.before;
  }
  if (run.dataHash !== undefined && tasks.includes(run.dataHash))
    run.warn?.(
      `replay: ${bufferFile} contains samples of this training data, followed by those of other data. They are ` +
        'replayed, and offered a second time. To begin anew, delete the file.',
    );
  return stored;
}

/** Returns the rows to replay: those of the buffer file and a sample of the configured data. */
async function fillBuffer(run: StrategyRun, options: ResolvedOptions, earlier: BufferOfTasks): Promise<BufferOfTasks> {
  const reservoir = openReservoir(earlier.buffer, options.bufferSize, run.seed);
  const batches = await openBatches(options, run);
  const tasks = [...earlier.tasks];
  // The data of an earlier task is in the buffer already.
  if (batches !== null && !tasks.includes(batches.summary.contentHash)) {
    for await (const batch of batches.epoch(0)) reservoir.offer(samplesOf(batch));
    tasks.push(batches.summary.contentHash);
  }
  const buffer = reservoir.buffer();
  if (buffer.rows.length === 0 && options.bufferFile === undefined) throw nothingToReplay();
  return { buffer, tasks };
}

/**
 * Returns the options that change nothing in the run of a first task: there is nothing to replay.
 *
 * @throws `DATA_EMPTY` if the buffer is not written either
 */
function unusedInRun({ batches, data, bufferFile, ...options }: ResolvedOptions): UnusedOption[] {
  if (batches !== undefined || data !== undefined) return [];
  if (bufferFile === undefined) throw nothingToReplay();
  if (exists(bufferFile)) return [];
  const reason = `nothing is replayed in this run, because ${bufferFile} does not exist yet and data is not set`;
  const changed = (['ratio', 'unit', 'priority'] as const).filter((key) => options[key] !== defaults[key]);
  return [
    { path: 'bufferFile', effect: 'is only written', reason },
    ...changed.map((path) => ({ path, reason: `nothing is replayed in this run` })),
  ];
}

const nothingToReplay = (): WhetstoneError =>
  new WhetstoneError('DATA_EMPTY', 'The strategy replay has neither data nor a bufferFile.', {
    place: { path: 'companions' },
    hint: 'Set data or bufferFile.',
  });

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

/**
 * Creates the companion strategy `replay`, which mixes earlier or general data into training. Replayed rows are added
 * to each batch, so that their expected share of all samples or tokens is `ratio`. The choice depends only on seed,
 * epoch and index of the batch, so that a resumed run makes the same choice.
 */
export function replayStrategy(given: ReplayOptions): Strategy {
  const options = resolveOptions(given);
  const { ratio, bufferFile } = options;
  if (!(ratio > 0 && ratio < 1))
    throw new WhetstoneError('CONFIG_INVALID', 'The ratio of replayed data is out of range.', {
      place: { path: 'companions' },
      expected: 'more than 0 and less than 1',
      found: String(ratio),
    });
  return {
    role: 'companion',
    checkRun: () => unusedInRun(options),
    attach: async (model, run) => {
      const vocabulary: BufferVocabulary = {
        vocabularySize: model.vocabularySize,
        ...(run.tokenizer === undefined ? {} : { tokenizer: run.tokenizer }),
      };
      if (bufferFile !== undefined && (run.worker?.rank ?? 0) === 0) await checkWritableFile(bufferFile);
      const earlier = await readEarlierTasks(options, run, vocabulary);
      const { buffer, tasks } = await fillBuffer(run, options, earlier);
      const replayed = new ReplayedRows(buffer, options.priority === 'loss' ? lossesOf(model, buffer.rows) : null);
      const { dataHash } = run;
      const ownTask: Omit<StoredBuffer, 'buffer'> =
        dataHash === undefined
          ? { tasks, last: null }
          : { tasks: [...tasks, dataHash], last: { task: dataHash, before: earlier } };
      const mixture = new Mixture(replayed, options, run, (file, buffer) =>
        writeBuffer(file, { ...ownTask, buffer }, vocabulary),
      );
      return {
        trainable: new Map(),
        beforeStep: ({ step }) => mixture.startStep(step),
        wrapData: (source) => ({ ...source, epoch: (epoch, options) => mixture.epoch(source, epoch, options) }),
        // The buffer file changes during the run, so the rows that this run replays are stored in its checkpoints.
        saveState: () => replayed.saveState(bufferFile !== undefined),
        loadState: (state) => replayed.loadState(state),
        dispose: () => {},
      };
    },
  };
}

/** The training data with replayed rows. Offers the rows of the first epoch to the buffer file. */
class Mixture {
  private isLastStep = false;

  constructor(
    private readonly replayed: ReplayedRows,
    private readonly options: ResolvedOptions,
    private readonly run: StrategyRun,
    private readonly write: (file: string, buffer: ReplayBuffer) => Promise<void>,
  ) {}

  startStep(step: number): void {
    this.isLastStep = step + 1 >= this.run.totalSteps;
  }

  /** Yields the batches of an epoch with replayed rows. */
  async *epoch(source: BatchSource, epoch: number, options: EpochOptions = {}): AsyncGenerator<Batch> {
    let index = options.skip ?? 0;
    const target = this.fileAfter(epoch);
    const reservoir = target === null ? null : await this.openReservoir(source, options);
    let isComplete = false;
    try {
      for await (const batch of source.epoch(epoch, options)) {
        reservoir?.offer(samplesOf(batch));
        yield this.replayed.mixInto(batch, this.options, createRandom(this.run.seed, `replay ${epoch} ${index}`));
        index++;
      }
      isComplete = true;
    } finally {
      // An interrupted run does not write the file; it offers its rows after it is resumed.
      const isEnd = isComplete || this.isLastStep || this.run.stopped === true;
      if (target !== null && reservoir !== null && isEnd) await this.write(target, reservoir.buffer());
    }
  }

  /** Returns the buffer file if this process writes it after the epoch, otherwise null. */
  private fileAfter(epoch: number): string | null {
    const writes = epoch === 0 && (this.run.worker?.rank ?? 0) === 0;
    return writes ? (this.options.bufferFile ?? null) : null;
  }

  /** Opens the reservoir of the buffer file. In a resumed run, it gets the rows from before the checkpoint again. */
  private async openReservoir(source: BatchSource, options: EpochOptions): Promise<Reservoir> {
    const reservoir = openReservoir(this.replayed.buffer, this.options.bufferSize, this.run.seed);
    if ((options.skip ?? 0) > 0 || (options.consumed ?? []).length > 0)
      for await (const samples of samplesBefore(source, options)) reservoir.offer(samples);
    return reservoir;
  }
}

/** Yields the samples of the first epoch that precede a position. */
async function* samplesBefore(
  source: BatchSource,
  { skip = 0, consumed = [] }: EpochOptions,
): AsyncGenerator<readonly ReplayRow[]> {
  if (consumed.length === 0) {
    let index = 0;
    for await (const batch of source.epoch(0)) {
      if (index++ >= skip) return;
      yield samplesOf(batch);
    }
    return;
  }
  // The batches before the position had other sizes: their samples are those that do not follow it.
  const following = new Map<string, number>();
  for await (const batch of source.epoch(0, { skip, consumed }))
    for (const key of samplesOf(batch).map(textOf)) following.set(key, (following.get(key) ?? 0) + 1);
  for await (const batch of source.epoch(0))
    yield samplesOf(batch).filter((sample) => {
      const key = textOf(sample);
      const left = following.get(key) ?? 0;
      if (left > 0) following.set(key, left - 1);
      return left === 0;
    });
}

const textOf = ({ ids, labels }: ReplayRow): string => `${ids.join()}|${labels.join()}`;
