import type { Pointer, TensorflowLibrary } from './library.js';
import type { Status } from './status.js';
import { toError } from '@whetstone/core/util';

/** An operation that is being handed over on another thread. */
export interface Flight {
  /** Resolves when it has been handed over, or refused. */
  readonly landed: Promise<void>;
  /** Waits for that on this thread. Gives the handles of the results, or throws. */
  wait(): Pointer[];
}

const pause = new Int32Array(new SharedArrayBuffer(4));

/**
 * Executes an operation on a thread of libuv's. Takes over the operation and the status.
 *
 * @param results how many there will be; at least one
 * @param named gives the error with the operation that it is about
 */
export function startFlight(
  library: TensorflowLibrary,
  operation: Pointer,
  status: Status,
  results: number,
  named: (error: unknown) => Error,
): Flight {
  // In one piece of memory with their number: as long as somebody asks for the results, the collector leaves both
  // alone, and TensorFlow may write to both.
  const memory = new ArrayBuffer(8 * (results + 1));
  const target = new BigUint64Array(memory, 0, results);
  const count = new Int32Array(memory, 8 * results, 1).fill(results);
  let outcome: { readonly handles: Pointer[] } | { readonly error: Error } | null = null;
  /** The results are written last, the status where there are none. */
  const take = (): { readonly handles: Pointer[] } | { readonly error: Error } | null => {
    if (outcome !== null) return outcome;
    if (status.failed) outcome = { error: named(status.error()) };
    else if (target.at(-1) !== 0n) outcome = { handles: Array.from(target) };
    return outcome;
  };
  const landed = new Promise<void>((resolve) => {
    library.TFE_Execute.async(operation, target, count, status.pointer, (error) => {
      if (error !== null && error !== undefined) outcome ??= { error: toError(error) };
      take();
      library.TFE_DeleteOp(operation);
      status.dispose();
      resolve();
    });
  });
  return {
    landed,
    wait: () => {
      for (let found = take(); ; found = take()) {
        if (found === null) Atomics.wait(pause, 0, 0, 1);
        else if ('error' in found) throw found.error;
        else return found.handles;
      }
    },
  };
}
