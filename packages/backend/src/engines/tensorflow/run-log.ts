import { isWhetstoneError } from '@whetstone/core/contract';
import type { Program } from '../../recorder/program.js';
import type { Describe } from '../engine.js';
import type { Pointer, TensorflowLibrary } from './library.js';
import { failure, namedIn, Status } from './status.js';
import { toError } from '@whetstone/core/util';

interface Run {
  readonly serial: number;
  /** Null where it ran op by op. */
  readonly functionName: string | null;
  readonly program: Program;
  readonly describe: Describe;
}

/** Runs whose operations can still be named when one fails: more are never queued. */
const RUNS_REMEMBERED = 8;

/**
 * Errors come later than their operations: what was handed over lately says which operation a message of TensorFlow's
 * means.
 */
export class RunLog {
  private readonly runs: Run[] = [];
  /** Number of the last run. */
  last = 0;

  constructor(
    private readonly library: TensorflowLibrary,
    private readonly contexts: () => readonly Pointer[],
    /** Whether what runs is sure to end by itself: a sum with another process may wait for ever. */
    private readonly ends: boolean,
  ) {}

  remember(functionName: string | null, program: Program, describe: Describe): void {
    this.runs.push({ serial: ++this.last, functionName, program, describe });
    if (this.runs.length > RUNS_REMEMBERED) this.runs.shift();
  }

  /** What is done cannot fail any more: its description, which holds the graph's values, is let go. */
  finished(upTo: number): void {
    while (this.runs[0] !== undefined && this.runs[0].serial <= upTo) this.runs.shift();
  }

  /** The same error with the operation that it is about. */
  named(error: unknown): Error {
    if (!isWhetstoneError(error)) return toError(error);
    const { operation, tensorflowCode, tensorflowMessage } = error.details;
    if (operation !== undefined || tensorflowCode === undefined) return error;
    const place = namedIn(String(tensorflowMessage));
    const run =
      place === null
        ? this.runs.findLast(({ functionName }) => functionName === null)
        : this.runs.findLast(({ functionName }) => functionName === place.functionName);
    const description = run === undefined ? undefined : place === null ? oneOf(run) : run.describe(place.step);
    return failure(Number(tensorflowCode), String(tensorflowMessage), description);
  }

  /**
   * Does what hands something to TensorFlow. A failed operation poisons the queue behind it: it is emptied, so that
   * what comes next can run.
   */
  guarded<R>(work: () => R): R {
    try {
      return work();
    } catch (error) {
      throw this.recovered(error);
    }
  }

  /** Empties TensorFlow's queues after an error, and gives the error with its operation. */
  recovered(error: unknown): Error {
    for (const context of this.contexts()) {
      // A result tells of an error before the queue that it came from has heard of it: cleared too soon, the queue
      // would refuse what comes next.
      if (this.ends) this.awaitAll(context);
      const executor = this.library.TFE_ContextGetExecutorForThread(context);
      this.library.TFE_ExecutorClearError(executor);
      this.library.TFE_DeleteExecutor(executor);
    }
    return this.named(error);
  }

  private awaitAll(context: Pointer): void {
    const status = new Status(this.library);
    this.library.TFE_ContextAsyncWait(context, status.pointer);
    status.dispose();
  }
}

/** The operations of a run in words: the one there is, or that it is among them. */
function oneOf({ program, describe }: Run): string {
  const { length } = program.steps;
  if (length === 1) return describe(0);
  const few = Array.from({ length: Math.min(length, 8) }, (_, step) => describe(step));
  return `One of ${length} operations (${few.join('; ')}${length > few.length ? '; …' : ''})`;
}
