import { ownValue } from '../util/index.js';
import type { Json, JsonSchema } from '../contract/index.js';
import type { Path } from './paths.js';
import { isObject } from './slots.js';

/** The options of a plugin, with a record of the keys that were read. */
export interface TrackedOptions {
  /**
   * The options as a frozen object. It can be spread, serialised and cloned like a plain object; each of these reads
   * all keys.
   */
  readonly options: { readonly [key: string]: Json };
  /** Returns whether any key was read. */
  touched(): boolean;
  /** Returns the paths of the declared keys that were never read. */
  unread(): readonly Path[];
}

/**
 * Records which keys of validated options are read. Keys that the schema declares are recorded individually, also in
 * nested objects. The contents of lists, and of maps with arbitrary keys, count as read when the list or map is read.
 *
 * Uses accessors instead of a Proxy: a proxy of a frozen object must return its original members, and cannot be cloned.
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
      const inner = propertiesOf(ownValue(properties, key));
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
