import { MAX_JSON_DEPTH } from './records.js';
import { isWrittenNumber } from './written-number.js';

/** How deep a value may be nested, so that the files that contain it can be read again. */
const DEEPEST = MAX_JSON_DEPTH - 20;

/** A value that JSON does not keep as it is. */
export interface JsonProblem {
  /** The path of the value, such as `averages[2].best`; empty for the value itself. */
  readonly path: string;
  /** What the value is, such as `NaN` or `a function`. */
  readonly found: string;
}

const identifier = /^[\w$]+$/;
const joined = (path: string, key: string): string =>
  identifier.test(key) ? (path === '' ? key : `${path}.${key}`) : `${path}[${JSON.stringify(key)}]`;

/** Returns a short description of a value that is not plain JSON. */
function describe(value: unknown): string {
  if (typeof value === 'number' || value === undefined) return String(value);
  if (typeof value === 'bigint') return 'a BigInt';
  if (typeof value !== 'object') return `a ${typeof value}`;
  const { constructor: maker } = value as { readonly constructor?: { readonly name?: unknown } };
  return typeof maker?.name === 'string' && maker.name !== ''
    ? `an instance of ${maker.name}`
    : 'an object with a class';
}

/**
 * Returns the first value that JSON would drop or change: undefined, a number that is not finite, a function, a symbol,
 * a BigInt, an instance of a class such as Date or Map, a key that is a symbol, a named member of a list, an object
 * that contains itself, or one that is nested too deeply to be read again. Null if there is none.
 */
export function jsonProblem(value: unknown, path = '', parents: readonly object[] = []): JsonProblem | null {
  if (value === null || typeof value === 'string' || typeof value === 'boolean' || isWrittenNumber(value)) return null;
  if (typeof value === 'number') return Number.isFinite(value) ? null : { path, found: describe(value) };
  if (typeof value !== 'object') return { path, found: describe(value) };
  if (parents.includes(value)) return { path, found: 'an object that contains it' };
  if (parents.length >= DEEPEST)
    return { path: `${path.slice(0, 80)}…`, found: `a value nested deeper than ${DEEPEST} levels` };
  if (Object.getOwnPropertySymbols(value).length > 0) return { path, found: 'a key that is a symbol' };
  const inside = [...parents, value];
  if (Array.isArray(value)) {
    const named = Object.keys(value).find((key) => !/^\d+$/.test(key));
    if (named !== undefined) return { path, found: `a list with the member ${named}` };
    // An index instead of entries(), so that holes are found.
    for (let index = 0; index < value.length; index++) {
      const problem = jsonProblem(value[index], `${path}[${index}]`, inside);
      if (problem !== null) return problem;
    }
    return null;
  }
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== null && prototype !== Object.prototype) return { path, found: describe(value) };
  for (const [key, item] of Object.entries(value)) {
    const problem = jsonProblem(item, joined(path, key), inside);
    if (problem !== null) return problem;
  }
  return null;
}
