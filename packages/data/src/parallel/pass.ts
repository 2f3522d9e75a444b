import { availableParallelism } from 'node:os';
import type {
  DataSource,
  DataSummary,
  DataTransform,
  Recipe,
  Removal,
  TransformReport,
} from '@whetstone/core/contract';
import { sizeOfFiles } from '../reading/files.js';
import { isFileSource, type FileSource } from '../sources/conversations.js';
import { isTransformed } from '../transforms/apply.js';
import type { ReportingTransform } from '../transforms/transform-log.js';
import { checkInterrupted } from '../batching/interrupted.js';
import { blocksOfConversations, blocksOfFileSets, type ReadBlock } from './blocks.js';
import type { MeasureHint } from '../report/measure.js';
import type { PassOutput, Setup } from './protocol.js';
import { runBlocks, throwFailure, type FinishedBlock, type OrderedFilter } from './run-blocks.js';
import { openThreadPool, startThread, ThreadsUnavailable, type Thread } from './thread-pool.js';

/** The progress of a pass over large data. */
export interface ReadingProgress {
  /** The share of the files' bytes that was read, from 0 to 1. */
  readonly share: number;
  readonly conversations: number;
  readonly seconds: number;
  readonly secondsLeft: number;
}

export interface ThreadOptions {
  /** Number of worker threads; null for one per core. */
  readonly workers: number | null;
  /** Data below this size is read without worker threads, as these take one to two seconds to start. */
  readonly fromBytes?: number;
  readonly onProgress?: (progress: ReadingProgress) => void;
  readonly onNote?: (message: string) => void;
  /** Called with the number of worker threads when they are ready and reading begins. */
  readonly onThreads?: (count: number) => void;
  /** If it is aborted, the pass ends with `INTERRUPTED`. */
  readonly signal?: AbortSignal;
  /** Size of a block in bytes; half a megabyte by default. */
  readonly blockBytes?: number;
  /** Returns what the next block need not measure for a report. */
  readonly hint?: () => MeasureHint;
  /** For tests. */
  readonly startThread?: () => Thread;
}

const FROM_BYTES = 8 * 1024 * 1024;
/** The main thread cannot keep more threads than this busy. */
const MOST_THREADS = 12;
const PROGRESS_EVERY = 1000;

/** Returns the number of worker threads to use for data of this size; 0 for none. */
export function threadsFor(files: readonly string[], { workers, fromBytes = FROM_BYTES }: ThreadOptions): number {
  const cores = availableParallelism();
  const count = workers ?? (cores > 1 ? Math.min(cores, MOST_THREADS) : 0);
  return count > 0 && sizeOfFiles(files) >= fromBytes ? count : 0;
}

/** Returns the files and transforms of a source, if every transform has a recipe; otherwise null. */
export function sharedSource(source: DataSource): {
  readonly files: FileSource;
  readonly transforms: readonly (DataTransform & { readonly recipe: Recipe })[];
} | null {
  const [inner, transforms] = isTransformed(source) ? [source.source, source.transforms] : [source, []];
  if (!isFileSource(inner)) return null;
  const portable = transforms.filter(
    (transform): transform is DataTransform & { readonly recipe: Recipe } => transform.recipe !== undefined,
  );
  return portable.length === transforms.length ? { files: inner, transforms: portable } : null;
}

/** Reduces options of plugins to plain data, which can be sent to another thread. */
const plain = <T>(value: T): T => JSON.parse(JSON.stringify(value)) as T;

/** Returns a copy that can be sent to another thread. */
function toPlainOutput(output: PassOutput): PassOutput {
  if (output.kind === 'tokens')
    return {
      ...output,
      options: plain(output.options),
      tokenizer: plain(output.tokenizer),
      renderer: plain(output.renderer),
    };
  return output.kind === 'report'
    ? { ...output, tokenizing: output.tokenizing && plain(output.tokenizing), measure: plain(output.measure) }
    : output;
}

function createProgress(
  total: number,
  conversations: () => number,
  onProgress: ThreadOptions['onProgress'],
): (bytes: number) => void {
  const started = performance.now();
  let done = 0;
  let last = started;
  return (bytes) => {
    done += bytes;
    const now = performance.now();
    if (!onProgress || now - last < PROGRESS_EVERY) return;
    last = now;
    const share = Math.min(1, done / Math.max(1, total));
    const seconds = (now - started) / 1000;
    onProgress({
      share,
      conversations: conversations(),
      seconds,
      secondsLeft: (seconds / Math.max(share, 1e-6)) * (1 - share),
    });
  };
}

/** Sums the reports of blocks, for each transform. */
function createReportSum(names: readonly string[]): {
  add(reports: readonly TransformReport[]): void;
  result(): TransformReport[];
} {
  const sums = names.map((name) => ({
    name,
    conversationsIn: 0,
    conversationsOut: 0,
    removed: {} as Record<string, number>,
    changed: {} as Record<string, number>,
    removals: [] as Removal[],
  }));
  const count = (all: Record<string, number>, more: Readonly<Record<string, number>>): void => {
    for (const [key, value] of Object.entries(more)) all[key] = (all[key] ?? 0) + value;
  };
  return {
    add(reports) {
      for (const [index, report] of reports.entries()) {
        const sum = sums[index];
        if (!sum) continue;
        sum.conversationsIn += report.conversationsIn;
        sum.conversationsOut += report.conversationsOut;
        count(sum.removed, report.removed);
        count(sum.changed, report.changed);
        for (const removal of report.removals) sum.removals.push(removal);
      }
    },
    result: () => sums,
  };
}

/**
 * Reads a source on worker threads and passes the result of each block to `take`, in the order of the data. Returns
 * false, without a call of `take`, if the source is small, cannot be shared between threads, or threads cannot start.
 *
 * @throws any error of reading, transforms and output, at the same conversation as a pass without threads
 * @throws `INTERRUPTED` if `signal` is aborted
 * @throws `ThreadsStopped` if a worker thread ends after the first block was taken
 */
export async function passOnThreads(
  source: DataSource,
  output: PassOutput,
  expected: { readonly tokenizerHash: string | null; readonly rendererHash: string } | null,
  options: ThreadOptions,
  take: (block: FinishedBlock) => void,
): Promise<boolean> {
  const size = threadsFor(source.files, options);
  if (size === 0) return false;
  const shared = sharedSource(source);
  if (!shared && output.kind !== 'tokens') return false;
  const transforms = shared?.transforms ?? [];
  const setup: Setup = {
    fileSets: shared?.files.fileSets.map((fileSet) => ({ options: plain(fileSet.options), name: fileSet.name })) ?? [],
    transforms: transforms.map(({ recipe }) => plain(recipe)),
    output: toPlainOutput(output),
  };
  let taken = 0;
  try {
    const filters = new Map<number, OrderedFilter>();
    for (const [index, transform] of transforms.entries()) {
      const { step } = transform as DataTransform & Partial<ReportingTransform>;
      if (step?.kind === 'filter')
        filters.set(index, { name: transform.report?.name ?? '', keeps: await step.begin() });
    }
    const pool = await openThreadPool(size, setup, expected, options.startThread ?? startThread);
    try {
      options.onThreads?.(size);
      let conversations = 0;
      const onBytes = createProgress(sizeOfFiles(source.files), () => conversations, options.onProgress);
      const blocks: AsyncIterable<ReadBlock> = shared
        ? blocksOfFileSets(shared.files.fileSets, onBytes, options.blockBytes)
        : blocksOfConversations(source.conversations());
      const unreadable: DataSummary['unreadable'][number][] = [];
      const reports = createReportSum(transforms.map((transform) => transform.report?.name ?? transform.recipe.name));
      for await (const block of runBlocks(blocks, pool, filters, options.hint)) {
        checkInterrupted(options.signal);
        taken++;
        conversations += block.read;
        for (const row of block.unreadable) unreadable.push(row);
        reports.add(block.reports);
        take(block);
        throwFailure(block);
      }
      if (shared) {
        shared.files.adopt(unreadable);
        if (isTransformed(source)) source.adopt({ unreadable, reports: reports.result() });
      }
      return true;
    } finally {
      pool.close();
    }
  } catch (error) {
    if (!(error instanceof ThreadsUnavailable)) throw error;
    if (taken > 0) throw new ThreadsStopped(error.message, { cause: error });
    options.onNote?.(`The data is read on one thread: ${error.message}`);
    return false;
  }
}

/** Thrown if worker threads end after some blocks were taken: the pass must be repeated without threads. */
export class ThreadsStopped extends Error {
  override readonly name = 'ThreadsStopped';
}
