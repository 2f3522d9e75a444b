import type { Json, JsonSchema } from '../contract/index.js';
import type { Path } from './paths.js';
import { isObject } from './slots.js';

/** Options that remember what of them was read. */
export interface TrackedOptions {
  /**
   * A frozen view to hand to a plugin. It spreads, serialises and clones as the plain object would; each counts as
   * reading.
   */
  readonly options: { readonly [key: string]: Json };
  /** Whether anything of it was read at all. */
  touched(): boolean;
  /** Declared keys that were never read. */
  unread(): readonly Path[];
}

/**
 * Watches which keys of validated options are read. Keys that the schema declares are watched one by one, also within
 * declared objects; what stands in lists and in maps with free keys counts as read with the list or map itself.
 *
 * Accessors instead of a Proxy: a proxy over frozen data may not answer with views of its members, and cannot be
 * cloned.
 */
export function trackReads(options: { readonly [key: string]: Json }, schema: JsonSchema): TrackedOptions {
  const reads = new Set<string>();
  const declared: Path[] = [];

  const view = (
    value: { readonly [key: string]: Json },
    properties: { readonly [key: string]: unknown },
    path: Path,
  ): { readonly [key: string]: Json } => {
    const result = {};
    for (const [key, member] of Object.entries(value)) {
      const here = [...path, key];
      const inner = propertiesOf(properties[key]);
      const shown: Json =
        inner !== undefined && isObject(member)
          ? view(member as { readonly [key: string]: Json }, inner, here)
          : member;
      const name = JSON.stringify(here);
      declared.push(here);
      Object.defineProperty(result, key, {
        enumerable: true,
        get: () => {
          reads.add(name);
          return shown;
        },
      });
    }
    return Object.freeze(result);
  };

  return {
    options: view(options, propertiesOf(schema) ?? {}, []),
    touched: () => reads.size > 0,
    unread: () =>
      declared.filter(
        (path) => !reads.has(JSON.stringify(path)) && reads.has(JSON.stringify(path.slice(0, -1))) === path.length > 1,
      ),
  };
}

function propertiesOf(schema: unknown): { readonly [key: string]: unknown } | undefined {
  return isObject(schema) && isObject(schema['properties']) ? schema['properties'] : undefined;
}

/** Freezes plain data all the way down. */
export function deepFreeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value);
    for (const member of Object.values(value)) deepFreeze(member);
  }
  return value;
}
