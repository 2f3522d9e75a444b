import { isWhetstoneError } from '@whetstone/core/contract';

/** Throws an error again if it reports an exceeded bound: a probe that meets one must not be repeated. */
export function rethrowLimit(error: unknown): void {
  if (isWhetstoneError(error) && error.code === 'TEMPLATE_LIMIT') throw error;
}
