import type { DataSummary, Origin, TransformReport } from '@whetstone/core/contract';
import { originAt } from '../transforms/duplicates/origin-list.js';
import { createLog, type FilterFunction, type TransformLog } from '../transforms/transform-log.js';
import type { SupervisionFindings } from '../proof/observe.js';
import type { MeasuredBlock, MeasureHint } from '../report/measure.js';
import type { ReadBlock } from './blocks.js';
import { fingerprintAt } from './fingerprints.js';
import { fromPlainError, toPlainError, type PlainError } from './plain-error.js';
import type { BlockOutput, BlockResult, FirstBlockResult } from './protocol.js';
import type { ThreadPool } from './thread-pool.js';

/** A filter that runs on the main thread and sees all conversations in the order of the data. */
export interface OrderedFilter {
  readonly name: string;
  readonly keeps: FilterFunction;
}

/** The final result of a block. */
export interface FinishedBlock {
  readonly output: Exclude<BlockOutput, { kind: 'fingerprints' }>;
  readonly unreadable: DataSummary['unreadable'];
  /** Report of each transform for this block, ordered filters included, in their order. */
  readonly reports: readonly TransformReport[];
  readonly failure: PlainError | null;
  readonly read: number;
}

/** A queue in which each task waits until all tasks that entered before it are done. */
class OrderedQueue {
  private last: Promise<void> = Promise.resolve();
  /** Adds a task. `ready` resolves at its turn; the task calls `done` to end its turn. */
  enter(): { readonly ready: Promise<void>; readonly done: () => void } {
    let done = (): void => {};
    const ready = this.last;
    this.last = new Promise((resolve) => (done = resolve));
    return { ready, done };
  }
}

const shifted = (origin: Origin, base: number): Origin =>
  base === 0 ? origin : { ...origin, index: origin.index + base };
const shiftReport = (report: TransformReport, base: number): TransformReport => ({
  ...report,
  removals: report.removals.map((removal) => ({ ...removal, origin: shifted(removal.origin, base) })),
});

/** Adds `base` to the origins of an output, which were counted from the start of the block. */
function shiftOutput(output: FinishedBlock['output'], base: number): FinishedBlock['output'] {
  if (output.kind === 'lines' || base === 0) return output;
  const shiftIndexes = (indexes: Int32Array): void =>
    indexes.forEach((value, index) => (indexes[index] = value + base));
  const shiftAll = <T extends { readonly origin: Origin }>(all: readonly T[]): T[] =>
    all.map((one) => ({ ...one, origin: shifted(one.origin, base) }));
  const shiftFindings = (found: SupervisionFindings): SupervisionFindings => ({
    ...found,
    withoutStop: { ...found.withoutStop, first: shiftAll(found.withoutStop.first) },
    withoutReasoning: { ...found.withoutReasoning, first: shiftAll(found.withoutReasoning.first) },
    otherPrefix: { ...found.otherPrefix, first: shiftAll(found.otherPrefix.first) },
  });
  if (output.kind === 'report') {
    const { block } = output;
    shiftIndexes(block.origins.indexes);
    const shiftDrawn = (drawn: MeasuredBlock['topicSample']): MeasuredBlock['topicSample'] =>
      drawn.map(({ priority, value }) => ({ priority, value: { ...value, origin: shifted(value.origin, base) } }));
    const tokens = block.tokens && { ...block.tokens, supervision: shiftFindings(block.tokens.supervision) };
    return {
      kind: 'report',
      block: { ...block, topicSample: shiftDrawn(block.topicSample), lossSample: shiftDrawn(block.lossSample), tokens },
    };
  }
  const { block } = output;
  if (block.index) shiftIndexes(block.index.origins.indexes);
  return {
    kind: 'tokens',
    block: {
      ...block,
      withoutTargets: shiftAll(block.withoutTargets),
      supervision: block.supervision && shiftFindings(block.supervision),
    },
  };
}

/** Blocks in flight per thread. */
const AHEAD = 3;

/**
 * Sends blocks through a pool and yields their results in the order of the data. The results do not depend on the
 * number of threads: blocks are processed independently, and everything that needs the order (row numbers, limits,
 * ordered filters) runs on this thread, block by block.
 */
export async function* runBlocks(
  blocks: AsyncIterable<ReadBlock>,
  pool: ThreadPool,
  filters: ReadonlyMap<number, OrderedFilter>,
  hint?: () => MeasureHint,
): AsyncGenerator<FinishedBlock> {
  const processor = new BlockProcessor(pool, filters, hint);
  const inFlight: Promise<FinishedBlock | null>[] = [];
  let readingFailed: { readonly error: unknown } | null = null;
  const reader = blocks[Symbol.asyncIterator]();
  try {
    for (;;) {
      let next: IteratorResult<ReadBlock>;
      try {
        next = await reader.next();
      } catch (error) {
        readingFailed = { error };
        break;
      }
      if (next.done) break;
      const read = next.value;
      let onStarted = (): void => {};
      const started = new Promise<void>((resolve) => (onStarted = resolve));
      const task = processor.process(read, onStarted);
      task.catch(() => {}); // thrown below, when the task is awaited
      inFlight.push(task);
      if (read.file?.layout === null) await started;
      while (inFlight.length >= pool.size * AHEAD) {
        const finished = await inFlight.shift();
        if (finished) yield finished;
      }
    }
    for (let task = inFlight.shift(); task !== undefined; task = inFlight.shift()) {
      const finished = await task;
      if (finished) yield finished;
    }
  } finally {
    await reader.return?.();
  }
  // Errors of earlier blocks come first.
  if (readingFailed) throw readingFailed.error;
}

type Turn = ReturnType<OrderedQueue['enter']>;

/** Processes blocks concurrently. What needs the order of the data runs in the order of the calls of `process`. */
class BlockProcessor {
  private readonly rowQueue = new OrderedQueue();
  private readonly filterQueues: ReadonlyMap<number, OrderedQueue>;
  private rowsSoFar = 0;
  private count = 0;

  constructor(
    private readonly pool: ThreadPool,
    private readonly filters: ReadonlyMap<number, OrderedFilter>,
    private readonly hint: (() => MeasureHint) | undefined,
  ) {
    this.filterQueues = new Map([...filters.keys()].map((transform) => [transform, new OrderedQueue()]));
  }

  /**
   * Processes a block. Returns null if a limit of its files excludes it.
   *
   * @param onStarted called when the layout of its file is known
   */
  async process(read: ReadBlock, onStarted: () => void): Promise<FinishedBlock | null> {
    const id = this.count++;
    const rowTurn = this.rowQueue.enter();
    const filterTurns = new Map([...this.filterQueues].map(([transform, queue]) => [transform, queue.enter()]));
    try {
      const started = await this.start(id, read);
      onStarted();
      await rowTurn.ready;
      const first = await this.withinLimit(id, read, started);
      if (first === null) return null;
      const base = read.block.kind === 'conversations' ? 0 : this.rowsSoFar;
      this.rowsSoFar += first.rows;
      rowTurn.done();
      return await this.finish(id, first, base, filterTurns);
    } finally {
      onStarted();
      rowTurn.done();
      for (const { done } of filterTurns.values()) done();
      this.pool.drop(id);
    }
  }

  /** Reads all conversations of a block and applies transforms up to the first ordered filter. */
  private async start(id: number, { block, file, fileSet }: ReadBlock): Promise<FirstBlockResult> {
    // A block with a limit may be sent twice, so its bytes must not be transferred.
    const mayRepeat = fileSet !== null && fileSet.limit !== null;
    const sent = mayRepeat ? structuredClone(block) : block;
    const result = await this.pool.start(id, sent, file?.layout ?? null, null, this.hint?.());
    if (file) file.layout ??= result.layout;
    return result;
  }

  /**
   * Counts the conversations of a block towards the limit of its files. Starts the block again with fewer conversations
   * if it exceeds the limit. Returns null if the limit was reached before.
   */
  private async withinLimit(
    id: number,
    { block, file, fileSet }: ReadBlock,
    started: FirstBlockResult,
  ): Promise<FirstBlockResult | null> {
    if (!fileSet || fileSet.limit === null) return started;
    const { limit, state } = fileSet;
    if (state.full) return null;
    const left = limit - state.taken;
    const result =
      started.read > left ? await this.pool.start(id, block, file?.layout ?? null, left, this.hint?.()) : started;
    if (started.read >= left) state.full = true;
    state.taken += result.read;
    return result;
  }

  /**
   * Applies the ordered filters and the transforms after them.
   *
   * @param base the number of rows before the block
   */
  private async finish(
    id: number,
    first: FirstBlockResult,
    base: number,
    filterTurns: ReadonlyMap<number, Turn>,
  ): Promise<FinishedBlock> {
    const reports = first.reports.map((report) => shiftReport(report, base));
    let result: BlockResult = first;
    let { failure } = first;
    let rebased = false;
    while (result.output.kind === 'fingerprints') {
      const { transform } = result.output;
      const turn = filterTurns.get(transform);
      await turn?.ready;
      // `pool.continue` sends `base` to the thread; from then on its origins count from the start of the data.
      const filtered = applyFilter(this.filters.get(transform), result.output, rebased ? 0 : base);
      turn?.done();
      rebased = true;
      reports.push(filtered.log.report);
      result = await this.pool.continue(id, filtered.keep, base);
      reports.push(...result.reports);
      failure = result.failure ?? filtered.failure ?? failure;
    }
    return {
      output: rebased ? result.output : shiftOutput(result.output, base),
      unreadable: first.unreadable.map(({ origin, reason }) => ({ origin: shifted(origin, base), reason })),
      reports,
      failure,
      read: first.read,
    };
  }
}

/** Applies an ordered filter to a block. After an error, the remaining conversations of the block are dropped. */
function applyFilter(
  filter: OrderedFilter | undefined,
  { transform, origins, fingerprints }: Extract<BlockOutput, { kind: 'fingerprints' }>,
  base: number,
): { keep: Uint8Array; log: TransformLog; failure: PlainError | null } {
  if (!filter) throw new Error(`Transform ${transform} is not an ordered filter.`);
  const log = createLog(filter.name);
  const keep = new Uint8Array(fingerprints.hashes.length);
  for (let index = 0; index < keep.length; index++) {
    log.in();
    try {
      if (!filter.keeps(fingerprintAt(fingerprints, index), shifted(originAt(origins, index), base), log)) continue;
    } catch (error) {
      return { keep, log, failure: toPlainError(error) };
    }
    keep[index] = 1;
    log.out();
  }
  return { keep, log, failure: null };
}

/** Throws the error of a block, if it has one. */
export function throwFailure({ failure }: FinishedBlock): void {
  if (failure) throw fromPlainError(failure);
}
