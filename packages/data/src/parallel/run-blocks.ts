import type { DataSummary, Origin, TransformReport } from '@whetstone/core/contract';
import { originAt } from '../transforms/duplicates/origin-list.js';
import { createLog, type Decide, type TransformLog } from '../transforms/transform-log.js';
import type { SupervisionFindings } from '../proof/observe.js';
import type { MeasuredBlock, MeasureHint } from '../report/measure.js';
import type { ReadBlock } from './blocks.js';
import { fingerprintAt } from './fingerprints.js';
import { fromPlainError, toPlainError, type PlainError } from './plain-error.js';
import type { FirstLeg, Leg, LegOutput } from './protocol.js';
import type { ThreadPool } from './thread-pool.js';

/** A transform that sees all conversations in their order, on the main thread. */
export interface Decider {
  readonly name: string;
  readonly decide: Decide;
}

/** What a block came to. Blocks come in the order of the data. */
export interface FinishedBlock {
  readonly output: Exclude<LegOutput, { kind: 'fingerprints' }>;
  readonly unreadable: DataSummary['unreadable'];
  /** What each transform did to this block, those that decide included, in their order. */
  readonly reports: readonly TransformReport[];
  readonly failure: PlainError | null;
  readonly read: number;
}

/** Lets tasks pass a place one by one, in the order in which they were made. */
class Turns {
  #last: Promise<void> = Promise.resolve();
  /** Makes the turn of the next task: it waits for those before, and lets the next one pass when it is done. */
  next(): { readonly come: Promise<void>; readonly done: () => void } {
    let done = (): void => {};
    const come = this.#last;
    this.#last = new Promise((resolve) => (done = resolve));
    return { come, done };
  }
}

const shifted = (origin: Origin, base: number): Origin =>
  base === 0 ? origin : { ...origin, index: origin.index + base };
const shiftReport = (report: TransformReport, base: number): TransformReport => ({
  ...report,
  removals: report.removals.map((removal) => ({ ...removal, origin: shifted(removal.origin, base) })),
});

/** The numbers of origins, counted within a block so far, as those of the whole data. */
function shiftOutput(output: FinishedBlock['output'], base: number): FinishedBlock['output'] {
  if (output.kind === 'lines' || base === 0) return output;
  const shiftIndexes = (indexes: Int32Array): void =>
    indexes.forEach((value, index) => (indexes[index] = value + base));
  const shiftAll = <T extends { readonly origin: Origin }>(all: readonly T[]): T[] =>
    all.map((one) => ({ ...one, origin: shifted(one.origin, base) }));
  const shiftFindings = (found: SupervisionFindings): SupervisionFindings => ({
    ...found,
    withoutStop: { ...found.withoutStop, first: shiftAll(found.withoutStop.first) },
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

/** Blocks for each thread that are read before the first of them is done. */
const AHEAD = 3;

/**
 * Sends blocks through a pool. What comes out, and in which order, does not depend on the number of threads: each block
 * is worked on for itself, and whatever needs the order (numbers of rows, limits, transforms that decide) waits for its
 * turn on this thread.
 */
export async function* runBlocks(
  blocks: AsyncIterable<ReadBlock>,
  pool: ThreadPool,
  deciders: ReadonlyMap<number, Decider>,
  hint?: () => MeasureHint,
): AsyncGenerator<FinishedBlock> {
  const rowTurns = new Turns();
  const decisionTurns = new Map([...deciders.keys()].map((transform) => [transform, new Turns()]));
  const inFlight: Promise<FinishedBlock | null>[] = [];
  let rowsSoFar = 0;
  let count = 0;

  /** Judges one block's conversations, in its turn. An error stands for all that would have come after. */
  function judge(
    { transform, origins, fingerprints }: Extract<LegOutput, { kind: 'fingerprints' }>,
    base: number,
  ): { keep: Uint8Array; log: TransformLog; failure: PlainError | null } {
    const decider = deciders.get(transform);
    if (!decider) throw new Error(`Transform ${transform} decides nothing.`);
    const log = createLog(decider.name);
    const keep = new Uint8Array(fingerprints.hashes.length);
    for (let index = 0; index < keep.length; index++) {
      log.in();
      try {
        if (!decider.decide(fingerprintAt(fingerprints, index), shifted(originAt(origins, index), base), log)) continue;
      } catch (error) {
        return { keep, log, failure: toPlainError(error) };
      }
      keep[index] = 1;
      log.out();
    }
    return { keep, log, failure: null };
  }

  async function work({ block, file, part }: ReadBlock, onStarted: () => void): Promise<FinishedBlock | null> {
    const id = count++;
    const rowTurn = rowTurns.next();
    const turns = new Map([...decisionTurns].map(([transform, line]) => [transform, line.next()]));
    try {
      const again = part !== null && part.limit !== null;
      let first: FirstLeg = await pool.start(
        id,
        again ? structuredClone(block) : block,
        file?.layout ?? null,
        null,
        hint?.(),
      );
      if (file) file.layout ??= first.layout;
      onStarted();
      await rowTurn.come;
      if (part && part.limit !== null) {
        if (part.state.full) return null;
        if (part.state.taken + first.read >= part.limit) {
          if (part.state.taken + first.read > part.limit)
            first = await pool.start(id, block, file?.layout ?? null, part.limit - part.state.taken, hint?.());
          part.state.full = true;
        }
        part.state.taken += first.read;
      }
      const base = block.kind === 'conversations' ? 0 : rowsSoFar;
      rowsSoFar += first.rows;
      rowTurn.done();

      const reports = first.reports.map((report) => shiftReport(report, base));
      let leg: Leg = first;
      let { failure } = first;
      let told = false;
      while (leg.output.kind === 'fingerprints') {
        const turn = turns.get(leg.output.transform);
        await turn?.come;
        // Once a thread was told where a block begins, its origins are those of the whole data.
        const judged = judge(leg.output, told ? 0 : base);
        turn?.done();
        told = true;
        reports.push(judged.log.report);
        leg = await pool.continue(id, judged.keep, base);
        reports.push(...leg.reports);
        failure = leg.failure ?? judged.failure ?? failure;
      }
      const unreadable = first.unreadable.map(({ origin, reason }) => ({ origin: shifted(origin, base), reason }));
      return {
        output: told ? leg.output : shiftOutput(leg.output, base),
        unreadable,
        reports,
        failure,
        read: first.read,
      };
    } finally {
      onStarted();
      rowTurn.done();
      for (const { done } of turns.values()) done();
      pool.drop(id);
    }
  }

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
      const task = work(read, onStarted);
      task.catch(() => {}); // told when its turn comes
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
  // A mistake in what was read before comes first.
  if (readingFailed) throw readingFailed.error;
}

/** Throws what failed in a block, where something did. */
export function throwFailure({ failure }: FinishedBlock): void {
  if (failure) throw fromPlainError(failure);
}
