import { isWrittenNumber } from './written-number.js';

/** Returns whether a value is an object with keys: neither null nor an array nor a written number. */
export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !isWrittenNumber(value);
}

/** Returns a copy of an object with its keys in order. Nested objects are not sorted. */
export const sortKeys = <T>(value: Readonly<Record<string, T>>): Readonly<Record<string, T>> =>
  Object.fromEntries(Object.entries(value).toSorted(([one], [other]) => (one < other ? -1 : 1)));
