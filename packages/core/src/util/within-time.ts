import { createContext, Script, type Context } from 'node:vm';

/** Thrown if a computation was ended because it took too long. */
export class TookTooLong extends Error {
  constructor(readonly seconds: number) {
    super(`it took longer than ${seconds} seconds`);
  }
}

let runner: { readonly script: Script; readonly context: Context } | null = null;

/**
 * Runs a computation and ends it if it takes too long. For regular expressions from outside, which may need years for a
 * short text: JavaScript has no other way to end one on the same thread.
 *
 * @throws `TookTooLong`
 */
export function withinTime<T>(seconds: number, compute: () => T): T {
  runner ??= { script: new Script('compute()'), context: createContext({}) };
  const { script, context } = runner;
  let result: { readonly value: T } | null = null;
  const outer: unknown = context['compute'];
  context['compute'] = (): void => {
    result = { value: compute() };
  };
  try {
    script.runInContext(context, { timeout: seconds * 1000 });
  } catch (error) {
    const { code } = error as { readonly code?: unknown };
    throw code === 'ERR_SCRIPT_EXECUTION_TIMEOUT' ? new TookTooLong(seconds) : error;
  } finally {
    context['compute'] = outer;
  }
  return (result as unknown as { readonly value: T }).value;
}

/** A compiled regular expression. */
export type Pattern = Pick<RegExp, 'test' | 'exec' | 'source'>;

/**
 * Returns a regular expression from outside whose search in a name is ended if it takes too long.
 *
 * @throws `TookTooLong` from the search
 */
export function boundedPattern(pattern: RegExp, seconds = 5): Pattern {
  // Only a repeated group takes exponential time; without one, names of modules are short enough.
  if (!/\)[*+{]/.test(pattern.source)) return pattern;
  return {
    source: pattern.source,
    test: (name) => withinTime(seconds, () => pattern.test(name)),
    exec: (name) => withinTime(seconds, () => pattern.exec(name)),
  };
}
