import { isWhetstoneError } from '@whetstone/core/contract';
import type { Program } from '../../recorder/program.js';
import type { Describe } from '../engine.js';
import type { Pointer, TensorflowLibrary } from './library.js';
import { failedStepIn, failure, Status } from './status.js';
import { toError } from '@whetstone/core/util';

interface Run {
  readonly serial: number;
  /** Null if it ran op by op. */
  readonly functionName: string | null;
  readonly program: Program;
  readonly describe: Describe;
}

/** Runs that are remembered. TensorFlow never has more in its queue. */
const MAX_RUNS = 8;

/**
 * The latest runs. TensorFlow reports an error later than the operation that caused it; the log finds that operation
 * from the message.
 */
export class RunLog {
  private readonly runs: Run[] = [];
  /** Serial number of the latest run. */
  last = 0;

  constructor(
    private readonly library: TensorflowLibrary,
    private readonly contexts: () => readonly Pointer[],
    /** Whether every run ends by itself. A collective operation may wait forever for another process. */
    private readonly alwaysEnds: boolean,
  ) {}

  remember(functionName: string | null, program: Program, describe: Describe): void {
    this.runs.push({ serial: ++this.last, functionName, program, describe });
    if (this.runs.length > MAX_RUNS) this.runs.shift();
  }

  /** Forgets the runs up to a serial number. They can no longer fail, and their descriptions hold tensors. */
  finished(upTo: number): void {
    while (this.runs[0] !== undefined && this.runs[0].serial <= upTo) this.runs.shift();
  }

  /** Returns the error with the operation that failed, if it is known. */
  withOperation(error: unknown): Error {
    if (!isWhetstoneError(error)) return toError(error);
    const { operation, tensorflowCode, tensorflowMessage } = error.details;
    if (operation !== undefined || tensorflowCode === undefined) return error;
    const failed = failedStepIn(String(tensorflowMessage));
    const run =
      failed === null
        ? this.runs.findLast(({ functionName }) => functionName === null)
        : this.runs.findLast(({ functionName }) => functionName === failed.functionName);
    const description = run === undefined ? undefined : failed === null ? oneOf(run) : run.describe(failed.step);
    return failure(Number(tensorflowCode), String(tensorflowMessage), description);
  }

  /**
   * Runs `work`, which calls TensorFlow. After a failed operation TensorFlow refuses everything queued behind it, so
   * its queues are cleared.
   *
   * @throws the error of `work` with the operation that failed
   */
  guarded<R>(work: () => R): R {
    try {
      return work();
    } catch (error) {
      throw this.recovered(error);
    }
  }

  /** Clears TensorFlow's queues after an error. Returns the error with the operation that failed. */
  recovered(error: unknown): Error {
    for (const context of this.contexts()) {
      // A result reports an error before its queue does. A queue that is cleared too early refuses later work.
      if (this.alwaysEnds) this.awaitAll(context);
      const executor = this.library.TFE_ContextGetExecutorForThread(context);
      this.library.TFE_ExecutorClearError(executor);
      this.library.TFE_DeleteExecutor(executor);
    }
    return this.withOperation(error);
  }

  private awaitAll(context: Pointer): void {
    const status = new Status(this.library);
    this.library.TFE_ContextAsyncWait(context, status.pointer);
    status.dispose();
  }
}

/** Describes a run's only operation, or says that the error is in one of them. */
function oneOf({ program, describe }: Run): string {
  const { length } = program.steps;
  if (length === 1) return describe(0);
  const few = Array.from({ length: Math.min(length, 8) }, (_, step) => describe(step));
  return `One of ${length} operations (${few.join('; ')}${length > few.length ? '; …' : ''})`;
}
