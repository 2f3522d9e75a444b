import { WhetstoneError } from '@whetstone/core/contract';
import { boundedPattern, compilePython, messageOf, TookTooLong, type Pattern } from '@whetstone/core/util';

/**
 * Compiles a regular expression of the options or of an adapter, which may be one of Python. The search is ended if it
 * takes too long.
 *
 * @param path the path of the option, for errors
 * @param written the text that the user wrote, if `source` contains more than that
 * @throws `CONFIG_INVALID` with the reason if it is invalid, and from the search if that takes too long
 */
export function compilePattern(source: string, path: string, written: string = source): Pattern {
  const invalid = (message: string, expected: string, cause: unknown): WhetstoneError =>
    new WhetstoneError('CONFIG_INVALID', message, {
      place: { path },
      expected,
      found: written,
      hint: `${messageOf(cause)}.`,
      cause,
    });
  let pattern: Pattern;
  try {
    pattern = boundedPattern(compilePython(source));
  } catch (cause) {
    throw invalid('A pattern is not a regular expression.', 'a regular expression of JavaScript', cause);
  }
  const search = <T>(run: () => T): T => {
    try {
      return run();
    } catch (cause) {
      if (!(cause instanceof TookTooLong)) throw cause;
      throw invalid('A pattern takes too long.', 'a pattern without a repeated part in a repeated group', cause);
    }
  };
  return {
    source,
    test: (name) => search(() => pattern.test(name)),
    exec: (name) => search(() => pattern.exec(name)),
  };
}
