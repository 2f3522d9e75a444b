import { statSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import type {
  DataSource,
  DataSummary,
  DataTransform,
  Recipe,
  Removal,
  TransformReport,
} from '@whetstone/core/contract';
import { isFileSource, type FileSource } from '../sources/conversations.js';
import { isTransformed } from '../transforms/apply.js';
import type { ReportingTransform } from '../transforms/transform-log.js';
import { checkInterrupted } from '../batching/interrupted.js';
import { blocksOfConversations, blocksOfParts, type ReadBlock } from './blocks.js';
import type { MeasureHint } from '../report/measure.js';
import type { Goal, Setup } from './protocol.js';
import { runBlocks, throwFailure, type Decider, type FinishedBlock } from './run-blocks.js';
import { openThreadPool, startThread, ThreadsUnavailable, type Thread } from './thread-pool.js';

/** How far a pass over large data is. */
export interface ReadingProgress {
  /** From 0 to 1, by the bytes of the files. */
  readonly share: number;
  readonly conversations: number;
  readonly seconds: number;
  readonly secondsLeft: number;
}

export interface ThreadOptions {
  /** Null: as many as there are cores. */
  readonly workers: number | null;
  /** Smaller data is done by one thread: others take a second or two to be ready. */
  readonly fromBytes?: number;
  readonly onProgress?: (progress: ReadingProgress) => void;
  readonly onNote?: (message: string) => void;
  /** Told when so many threads are ready and the reading begins. */
  readonly onThreads?: (count: number) => void;
  /** Aborted: the pass ends with `INTERRUPTED`. */
  readonly signal?: AbortSignal;
  /** Bytes of a file that a thread is given at once; half a megabyte. */
  readonly blockBytes?: number;
  /** What a report needs not know any more, when the next block is begun. */
  readonly hint?: () => MeasureHint;
  /** For tests. */
  readonly startThread?: () => Thread;
}

const FROM_BYTES = 8 * 1024 * 1024;
/** The main thread keeps so many busy; more would only take memory. */
const MOST_THREADS = 12;
const PROGRESS_EVERY = 1000;

const bytesOf = (files: readonly string[]): number =>
  files.reduce((sum, file) => sum + (statSync(file, { throwIfNoEntry: false })?.size ?? 0), 0);

/** How many threads data of this size is worth; 0 for none. */
export function threadsFor(files: readonly string[], { workers, fromBytes = FROM_BYTES }: ThreadOptions): number {
  const cores = availableParallelism();
  const wanted = workers ?? (cores > 1 ? Math.min(cores, MOST_THREADS) : 0);
  return wanted > 0 && bytesOf(files) >= fromBytes ? wanted : 0;
}

/** A source as threads can share it: files with transforms that each have a recipe. Null where it is another. */
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

/** Plain data: what plugins were given may be more than that. */
const plain = <T>(value: T): T => JSON.parse(JSON.stringify(value)) as T;

/** A goal as another thread can be sent it. */
function plainGoal(goal: Goal): Goal {
  if (goal.kind === 'tokens')
    return { ...goal, options: plain(goal.options), tokenizer: plain(goal.tokenizer), renderer: plain(goal.renderer) };
  return goal.kind === 'report'
    ? { ...goal, tokenizing: goal.tokenizing && plain(goal.tokenizing), measure: plain(goal.measure) }
    : goal;
}

function createProgress(
  total: number,
  conversations: () => number,
  tell: ThreadOptions['onProgress'],
): (bytes: number) => void {
  const started = performance.now();
  let done = 0;
  let last = started;
  return (bytes) => {
    done += bytes;
    const now = performance.now();
    if (!tell || now - last < PROGRESS_EVERY) return;
    last = now;
    const share = Math.min(1, done / Math.max(1, total));
    const seconds = (now - started) / 1000;
    tell({
      share,
      conversations: conversations(),
      seconds,
      secondsLeft: (seconds / Math.max(share, 1e-6)) * (1 - share),
    });
  };
}

/** Reports of blocks as one a transform. */
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
 * Sends all of a source through threads, and what comes out to `take`, in the order of the data. False where threads
 * are of no use: the source is small or none that can be shared, or threads cannot be started; nothing was taken then.
 *
 * @throws whatever reading, transforms and the goal throw, at the same conversation as one thread would
 */
export async function passOnThreads(
  source: DataSource,
  goal: Goal,
  expected: { readonly tokenizerHash: string | null; readonly rendererHash: string } | null,
  options: ThreadOptions,
  take: (block: FinishedBlock) => void,
): Promise<boolean> {
  const size = threadsFor(source.files, options);
  if (size === 0) return false;
  const shared = sharedSource(source);
  if (!shared && goal.kind !== 'tokens') return false;
  const transforms = shared?.transforms ?? [];
  const setup: Setup = {
    parts: shared?.files.parts.map((part) => ({ options: plain(part.options), name: part.name })) ?? [],
    transforms: transforms.map(({ recipe }) => plain(recipe)),
    goal: plainGoal(goal),
  };
  let taken = 0;
  try {
    const deciders = new Map<number, Decider>();
    for (const [index, transform] of transforms.entries()) {
      const { stage } = transform as DataTransform & Partial<ReportingTransform>;
      if (stage?.kind === 'decide')
        deciders.set(index, { name: transform.report?.name ?? '', decide: await stage.begin() });
    }
    const pool = await openThreadPool(size, setup, expected, options.startThread ?? startThread);
    try {
      options.onThreads?.(size);
      let conversations = 0;
      const onBytes = createProgress(bytesOf(source.files), () => conversations, options.onProgress);
      const blocks: AsyncIterable<ReadBlock> = shared
        ? blocksOfParts(shared.files.parts, onBytes, options.blockBytes)
        : blocksOfConversations(source.conversations());
      const unreadable: DataSummary['unreadable'][number][] = [];
      const reports = createReportSum(transforms.map((transform) => transform.report?.name ?? transform.recipe.name));
      for await (const block of runBlocks(blocks, pool, deciders, options.hint)) {
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

/** Threads that ended when part of the data was taken: the pass must begin anew, without them. */
export class ThreadsStopped extends Error {
  override readonly name = 'ThreadsStopped';
}
