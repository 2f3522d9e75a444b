import type { Value } from './library.js';
import type { Callables } from './macros.js';
import { equals, flag, integer, list, mapping, missing } from './values.js';

/** One iteration of a loop. */
export interface Iteration {
  readonly items: readonly Value[];
  readonly index: number;
  /** `loop.changed`, shared by all iterations; see {@link changeDetector}. */
  readonly changed: Value;
  readonly callables: Callables;
}

/** Creates Jinja's `loop` variable with the members in `uses`. Creating all of them in each iteration would be slow. */
export function loopVariable(
  { items, index, changed, callables }: Iteration,
  uses: ReadonlySet<string> | 'all',
): Value {
  const members = new Map<string, Value>();
  const define = (member: string, value: () => Value): void => {
    if (uses === 'all' || uses.has(member)) members.set(member, value());
  };
  define('index', () => integer(index + 1));
  define('index0', () => integer(index));
  define('revindex', () => integer(items.length - index));
  define('revindex0', () => integer(items.length - index - 1));
  define('first', () => flag(index === 0));
  define('last', () => flag(index === items.length - 1));
  define('length', () => integer(items.length));
  define('depth', () => integer(1));
  define('depth0', () => integer(0));
  define('previtem', () => items[index - 1] ?? missing);
  define('nextitem', () => items[index + 1] ?? missing);
  define('cycle', () =>
    callables.define(({ positional }) => positional[index % Math.max(1, positional.length)] ?? missing),
  );
  define('changed', () => changed);
  return mapping(members);
}

/** Creates Jinja's `loop.changed(*values)`: true in the first call and if the values differ from the previous call. */
export function changeDetector(callables: Callables): Value {
  let before: Value | null = null;
  return callables.define(({ positional }) => {
    const now = list(positional);
    const differs = before === null || !equals(before, now);
    before = now;
    return flag(differs);
  });
}
