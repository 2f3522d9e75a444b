import { WhetstoneError } from '@whetstone/core/contract';
import { messageOf, TookTooLong, withinTime } from '@whetstone/core/util';

/** A compiled regular expression. */
export type Pattern = Pick<RegExp, 'test' | 'exec' | 'source'>;

/** Longest time for one name, in seconds. */
const SECONDS = 5;

/**
 * Compiles a regular expression of the options or of an adapter. The search is ended if it takes too long.
 *
 * @param path the path of the option, for errors
 * @param written the text that the user wrote, if `source` contains more than that
 * @throws `CONFIG_INVALID` with the reason if it is invalid, and from the search if that takes too long
 */
export function compilePattern(source: string, path: string, written: string = source): Pattern {
  let pattern: RegExp;
  try {
    pattern = new RegExp(source);
  } catch (cause) {
    throw new WhetstoneError('CONFIG_INVALID', 'A pattern is not a regular expression.', {
      place: { path },
      expected: 'a regular expression of JavaScript',
      found: written,
      hint: `${messageOf(cause)}.`,
      cause,
    });
  }
  // Only a repeated group takes exponential time; without one, the names of modules are short enough.
  return /\)[*+{]/.test(source) ? bounded(pattern, path, written) : pattern;
}

function bounded(pattern: RegExp, path: string, written: string): Pattern {
  const run = <T>(name: string, search: () => T): T => {
    try {
      return withinTime(SECONDS, search);
    } catch (cause) {
      if (!(cause instanceof TookTooLong)) throw cause;
      throw new WhetstoneError('CONFIG_INVALID', 'A pattern takes too long.', {
        place: { path },
        expected: `at most ${SECONDS} seconds for the name ${name}`,
        found: written,
        hint: 'A repeated part in a repeated group, as in `(a+)+`, takes exponential time.',
      });
    }
  };
  return {
    source: pattern.source,
    test: (name) => run(name, () => pattern.test(name)),
    exec: (name) => run(name, () => pattern.exec(name)),
  };
}
