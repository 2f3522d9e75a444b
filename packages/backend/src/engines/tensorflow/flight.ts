import type { Pointer, TensorflowLibrary } from './library.js';
import type { Status } from './status.js';

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
 * @param results how many there will be; at least one
 * @param named gives the error with the operation that it is about
 */
export function startFlight(library: TensorflowLibrary, operation: Pointer, status: Status, results: number, named: (error: unknown) => Error): Flight {
  const target = new BigUint64Array(results);
  const count = Int32Array.of(results);
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
      // Looked at here, so that the collector leaves it alone while TensorFlow may still write to it.
      if (error !== null && error !== undefined) outcome ??= { error: error instanceof Error ? error : new Error(`${String(error)} (${count.join()} results)`) };
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
