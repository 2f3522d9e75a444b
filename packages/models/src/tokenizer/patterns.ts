import { WhetstoneError } from '@whetstone/core/contract';
import { TookTooLong, withinTime } from '@whetstone/core/util';
import { library } from './library.js';

/** A pattern in tokenizer.json. */
export interface Pattern {
  readonly Regex?: string;
  readonly String?: string;
}

/** Finds the matches of a pattern in a text. */
export type FindMatches = (text: string) => Iterable<RegExpExecArray>;

/** Creates the search for a pattern of ours. */
export const searchFor =
  (pattern: RegExp): FindMatches =>
  (text) =>
    text.matchAll(pattern);

/** Compiles a pattern; the library translates its Oniguruma syntax into a JavaScript regular expression. */
export function compilePattern(pattern: Pattern): FindMatches {
  const { pattern: compiled } = new library.SplitPreTokenizer({
    type: 'Split',
    pattern,
    behavior: 'Isolated',
    invert: true,
  });
  if (compiled === null)
    throw new Error(`pattern ${JSON.stringify(pattern)} is neither a string nor a regular expression`);
  return pattern.Regex === undefined || isLinear(pattern.Regex) ? searchFor(compiled) : boundedSearch(compiled);
}

/** Longest time that a pattern of a tokenizer may take for one section of a text, in seconds. */
const SECONDS = 10;

function boundedSearch(pattern: RegExp): FindMatches {
  return (text) => {
    try {
      return withinTime(SECONDS, () => [...text.matchAll(pattern)]);
    } catch (cause) {
      if (!(cause instanceof TookTooLong)) throw cause;
      throw new WhetstoneError('TOKENIZER_INVALID', 'A pattern of tokenizer.json takes too long.', {
        expected: `at most ${SECONDS} seconds for a text of ${text.length} characters`,
        found: pattern.source.slice(0, 200),
        hint: 'The time of this pattern grows faster than the text. Use the tokenizer of another model.',
      });
    }
  };
}

const UPPER = '[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]';
const LOWER = '[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]';
const BEFORE_WORD = '[^\\r\\n\\p{L}\\p{N}]?';
const ENDINGS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
/**
 * The parts of the patterns of published tokenizers (GPT-2, Llama 3, Qwen 2, Gemma, Phi, DeepSeek): alternatives of
 * optional single characters and of repeated classes. Each takes time in proportion to the text.
 */
const LINEAR_PARTS: readonly string[] = [
  ...['', `${ENDINGS}?`].flatMap((ending) => [
    `${BEFORE_WORD}${UPPER}*${LOWER}+${ending}`,
    `${BEFORE_WORD}${UPPER}+${LOWER}*${ending}`,
  ]),
  ' ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*',
  ' {2,}',
  "'s|'t|'re|'ve|'m|'ll|'d",
  "'(?:[sdmt]|ll|ve|re)",
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)",
  '(?i:[sdmt]|ll|ve|re)',
  '[^\\r\\n\\p{L}\\p{N}]?\\p{L}+',
  '[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+',
  '\\p{N}{1,3}',
  '\\p{N}{1,3}+',
  '\\p{N}',
  '\\p{N}+',
  ' ?\\p{L}+',
  ' ?\\p{N}+',
  ' ?[^\\s\\p{L}\\p{N}]+',
  ' ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*',
  ' ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*',
  '\\s*[\\r\\n]+',
  '\\s*[\\r\\n]',
  '\\s+(?!\\S)',
  '\\s+',
  '\\s',
  '\\d',
];

/** Parts that are tried again at each position of a long run, unless a later part matches the run. */
const NEEDED: readonly (readonly [part: string, next: string])[] = [
  ['\\s*[\\r\\n]+', '\\s+'],
  ['\\s*[\\r\\n]', '\\s+'],
  ...['', `${ENDINGS}?`].map(
    (ending) => [`${BEFORE_WORD}${UPPER}*${LOWER}+${ending}`, `${BEFORE_WORD}${UPPER}+${LOWER}*${ending}`] as const,
  ),
];

/** Returns whether a pattern consists of {@link LINEAR_PARTS}. */
export function isLinear(source: string): boolean {
  const used = new Set<string>();
  let rest = source;
  const parts = [...LINEAR_PARTS].sort((a, b) => b.length - a.length);
  for (;;) {
    const part = parts.find((one) => rest === one || rest.startsWith(`${one}|`));
    if (part === undefined) return false;
    used.add(part);
    if (rest === part) return NEEDED.every(([one, next]) => !used.has(one) || used.has(next));
    rest = rest.slice(part.length + 1);
  }
}
