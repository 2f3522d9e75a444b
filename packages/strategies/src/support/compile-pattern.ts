import { WhetstoneError } from '@whetstone/core/contract';
import { messageOf } from '@whetstone/core/util';

/**
 * Compiles a regular expression of the options.
 *
 * @param path the path of the option, for errors
 * @param written the text that the user wrote, if `source` contains more than that
 * @throws `CONFIG_INVALID` with the reason if it is invalid
 */
export function compilePattern(source: string, path: string, written: string = source): RegExp {
  try {
    return new RegExp(source);
  } catch (cause) {
    throw new WhetstoneError('CONFIG_INVALID', 'A pattern is not a regular expression.', {
      place: { path },
      expected: 'a regular expression of JavaScript',
      found: written,
      hint: `${messageOf(cause)}.`,
      cause,
    });
  }
}
