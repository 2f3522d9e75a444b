import { isWhetstoneError } from '@whetstone/core/contract';

/** Returns whether an error reports an exceeded bound. */
export const isLimit = (error: unknown): boolean => isWhetstoneError(error) && error.code === 'TEMPLATE_LIMIT';

/** Throws an error again if it reports an exceeded bound: a probe that meets one must not be repeated. */
export function rethrowLimit(error: unknown): void {
  if (isLimit(error)) throw error;
}
