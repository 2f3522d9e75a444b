import type { Pointer, TensorflowLibrary } from './library.js';
import type { Status } from './status.js';
import { toError } from '@whetstone/core/util';

/** An operation that another thread submits to TensorFlow. */
export interface AsyncExecution {
  /** Resolves when TensorFlow has accepted or refused the operation. */
  readonly submitted: Promise<void>;
  /**
   * Blocks this thread until then and returns the handles of the results.
   *
   * @throws why TensorFlow refused the operation
   */
  wait(): Pointer[];
}

const pause = new Int32Array(new SharedArrayBuffer(4));

/**
 * Executes an operation on a thread of libuv. Disposes of the operation and the status.
 *
 * @param results number of results; at least one
 * @param withOperation returns the error with the operation that failed
 */
export function executeAsync(
  library: TensorflowLibrary,
  operation: Pointer,
  status: Status,
  results: number,
  withOperation: (error: unknown) => Error,
): AsyncExecution {
  // TensorFlow writes to both arrays from another thread. They share one buffer, so that neither is collected alone.
  const memory = new ArrayBuffer(8 * (results + 1));
  const target = new BigUint64Array(memory, 0, results);
  const count = new Int32Array(memory, 8 * results, 1).fill(results);
  let outcome: { readonly handles: Pointer[] } | { readonly error: Error } | null = null;
  /** Returns the outcome, or null while it is pending. TensorFlow writes the results last, or the status on failure. */
  const poll = (): { readonly handles: Pointer[] } | { readonly error: Error } | null => {
    if (outcome !== null) return outcome;
    if (status.failed) outcome = { error: withOperation(status.error()) };
    else if (target.at(-1) !== 0n) outcome = { handles: Array.from(target) };
    return outcome;
  };
  const submitted = new Promise<void>((resolve) => {
    library.TFE_Execute.async(operation, target, count, status.pointer, (error) => {
      if (error !== null && error !== undefined) outcome ??= { error: toError(error) };
      poll();
      library.TFE_DeleteOp(operation);
      status.dispose();
      resolve();
    });
  });
  return {
    submitted,
    wait: () => {
      for (let found = poll(); ; found = poll()) {
        if (found === null) Atomics.wait(pause, 0, 0, 1);
        else if ('error' in found) throw found.error;
        else return found.handles;
      }
    },
  };
}
