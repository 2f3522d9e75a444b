import { isWrittenNumber } from './written-number.js';

/** Returns whether a value is an object with keys: neither null nor an array nor a written number. */
export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !isWrittenNumber(value);
}
