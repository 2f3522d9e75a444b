import { WhetstoneError, isWhetstoneError } from '../contract/errors.js';
import { messageOf } from '../util/index.js';

/** Codes of Node.js and of operating systems for a failed allocation. */
const allocationCodes: readonly unknown[] = ['ENOMEM', 'ERR_MEMORY_ALLOCATION_FAILED', 'ERR_WORKER_OUT_OF_MEMORY'];

/** What the libraries of tensor backends write: TensorFlow, XLA, C++ and Emscripten. */
const allocationMessages = /RESOURCE_EXHAUSTED|\bOOM\b|out of memory|bad_alloc|cannot enlarge memory/i;

/** What JavaScript writes. A length that is negative or not whole is a mistake of a program. */
const allocationRanges =
  /^Array buffer allocation failed|could not allocate memory|^Invalid typed array length: (\d+)$/;

/** The least length of a typed array whose allocation can fail for lack of memory. */
const LARGE_LENGTH = 2 ** 24;

/** Errors have few causes; a circle of them ends. */
const MAX_CAUSES = 8;

/** The errors whose message is about other things, even if it contains such words. */
const isForeign = (error: unknown): boolean => isWhetstoneError(error) && error.code !== 'OUT_OF_MEMORY';

/** Returns whether an error itself, without its causes, is a failed allocation. */
function isFailedAllocation(error: unknown): boolean {
  if (isWhetstoneError(error)) return error.code === 'OUT_OF_MEMORY';
  if (!(error instanceof Error)) return false;
  if (allocationCodes.includes((error as NodeJS.ErrnoException).code)) return true;
  if (!(error instanceof RangeError)) return allocationMessages.test(error.message);
  const range = allocationRanges.exec(error.message);
  return range !== null && (range[1] === undefined || Number(range[1]) >= LARGE_LENGTH);
}

/** Returns the failed allocation that caused an error: the error itself or one of its causes; null if there is none. */
function failedAllocationIn(error: unknown): unknown {
  let current = error;
  for (let depth = 0; depth < MAX_CAUSES && current instanceof Error; depth++) {
    if (isFailedAllocation(current)) return current;
    // Of errors with another code, only those of plugins wrap what happened.
    if (isForeign(current) && !['HOOK_FAILED', 'PLUGIN_FAILED'].includes((current as WhetstoneError).code)) return null;
    current = current.cause;
  }
  return null;
}

/** Returns the bytes that the error of a failed allocation names: that of a backend, or of a typed array; or null. */
function bytesOfFailure(failure: unknown): number | null {
  const bytes = isWhetstoneError(failure) ? failure.details['bytes'] : null;
  return typeof bytes === 'number' ? bytes : null;
}

/**
 * Returns the `OUT_OF_MEMORY` of an error that a failed allocation caused, on any backend or in JavaScript. Any other
 * error is returned unchanged.
 *
 * @param purpose what was computed or allocated, as the beginning of a sentence: `Step 3`
 * @param hint what needs less memory; by default that of the error
 */
export function asOutOfMemory(error: unknown, purpose: string | null = null, hint?: string): unknown {
  const failure = failedAllocationIn(error);
  if (failure === null) return error;
  const outer = isWhetstoneError(error) ? error : null;
  const inner = isWhetstoneError(failure) ? failure : null;
  const text = messageOf(error);
  const { bytes, ...details } = { bytes: bytesOfFailure(failure), ...outer?.details, ...inner?.details };
  const own = inner?.details['purpose'];
  const message = purpose === null || own !== undefined ? text : `${purpose} failed for lack of memory: ${text}`;
  return new WhetstoneError('OUT_OF_MEMORY', message, {
    place: outer?.place ?? inner?.place,
    expected: outer?.expected,
    found: outer?.found,
    hint: hint ?? outer?.hint ?? inner?.hint,
    details: {
      ...details,
      ...(typeof bytes === 'number' ? { bytes } : {}),
      ...(own === undefined && purpose !== null ? { purpose } : {}),
    },
    cause: outer === null ? error : (outer.cause ?? failure),
  });
}

/**
 * Runs `work`, which computes, like {@link naming}. An error without a code, such as those of tfjs-core's backends,
 * names the purpose, too.
 *
 * @throws `OUT_OF_MEMORY`
 * @throws `BACKEND_FAILED` for an error without a code
 */
export async function computing<T>(purpose: () => string, work: () => Promise<T>): Promise<T> {
  try {
    return await naming(purpose, work);
  } catch (cause) {
    if (isWhetstoneError(cause)) throw cause;
    throw new WhetstoneError('BACKEND_FAILED', `${purpose()} failed: ${messageOf(cause)}`, {
      hint: 'The cause has a stack. If it leads to a plugin, tell its author the name of the backend.',
      cause,
    });
  }
}

/**
 * Runs `work`. A failed allocation in it becomes an `OUT_OF_MEMORY` that names the purpose.
 *
 * @throws `OUT_OF_MEMORY`
 * @throws the errors of `work`
 */
export async function naming<T>(purpose: () => string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw asOutOfMemory(error, purpose());
  }
}
