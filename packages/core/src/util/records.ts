import { isWrittenNumber } from './written-number.js';

/** Returns whether a value is an object with keys: neither null nor an array nor a written number. */
export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !isWrittenNumber(value);
}

/** Returns a copy of an object with its keys in order. Nested objects are not sorted. */
export const sortKeys = <T>(value: Readonly<Record<string, T>>): Readonly<Record<string, T>> =>
  Object.fromEntries(Object.entries(value).toSorted(([one], [other]) => (one < other ? -1 : 1)));

/**
 * Returns the value of a table for a name from outside. A plain `table[name]` would find the members of every object,
 * such as `constructor`.
 */
export const ownValue = <T>(table: Readonly<Record<string, T>>, name: string): T | undefined =>
  Object.hasOwn(table, name) ? table[name] : undefined;
