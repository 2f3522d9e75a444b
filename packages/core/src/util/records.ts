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

/** How deep JSON from outside may be nested: far more than real files, and less than recursive functions bear. */
export const MAX_JSON_DEPTH = 200;

/** Returns whether lists and objects are nested more than `most` deep in each other. Does not call itself. */
export function isNestedDeeper(value: unknown, most = MAX_JSON_DEPTH): boolean {
  let level: unknown[] = [value];
  for (let depth = 0; level.length > 0; depth++) {
    const containers = level.filter((item): item is object => typeof item === 'object' && item !== null);
    if (containers.length > 0 && depth >= most) return true;
    level = [];
    for (const container of containers)
      for (const item of Array.isArray(container) ? (container as unknown[]) : Object.values(container))
        if (typeof item === 'object' && item !== null) level.push(item);
  }
  return false;
}
