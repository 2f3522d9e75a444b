import { meanOf, scoreOf, type Additive } from './accumulate.js';
import type { Pair } from './chrf.js';
import { numberIn, type Quantity } from './quantities.js';

/** What an answer is: a choice letter, a number with a unit, or text. `auto`: what the reference is. */
type AnswerKind = 'auto' | 'choice' | 'number' | 'text';

/** Options of {@link answerAccuracy}. */
export interface AnswerOptions {
  readonly kind?: AnswerKind;
  /** Relative difference up to which numbers are equal; 1e-6 by default. */
  readonly tolerance?: number;
}

/** A choice that is marked as the answer, in English and Chinese: `Answer: B`, `the answer is (B)`, `答案是B`, `选 B`. */
const MARKED_CHOICE =
  /(?:answer|option|choice|答案|选项|选择|选)\s?(?:is|为|是)?\s?[:：]?\s?[*(（]{0,3}([A-J])(?![a-z])/giu;
/** A letter by itself: `B`, `(B)`, `**B**`. The article and the pronoun, A and I, only with a mark behind them. */
const LONE_CHOICE = /(?<![\p{L}\p{N}'])(?:([B-HJ])(?![\p{L}\p{N}'])|([AI])(?=[).:,、)]|\*\*|$))/gu;

/** Returns the text in one width and case, without marks of reasoning and formatting. */
const plain = (text: string): string => withoutReasoning(text).normalize('NFKC').trim();

/** Removes what a model thought before its answer: all text up to the last mark that ends reasoning. */
function withoutReasoning(text: string): string {
  const end = text.lastIndexOf('</think>');
  return end < 0 ? text : text.slice(end + '</think>'.length);
}

/** Returns the last match of a pattern with the flag g: the letter in its first group that matched. */
function lastLetter(text: string, pattern: RegExp): string | null {
  const groups = [...text.matchAll(pattern)].at(-1)?.slice(1) ?? [];
  return groups.find((group) => group !== undefined)?.toUpperCase() ?? null;
}

/** Returns the choice letter that a text gives as the answer, A to J; null if there is none. */
export function choiceIn(text: string): string | null {
  const compared = plain(text);
  if (/^[a-j]$/i.test(compared)) return compared.toUpperCase();
  return lastLetter(compared, MARKED_CHOICE) ?? lastLetter(compared, LONE_CHOICE);
}

/** Returns words without case, punctuation, English articles and white space between Chinese characters. */
function comparableText(text: string): string {
  return plain(text)
    .toLowerCase()
    .replace(/[\p{P}\p{S}]/gu, ' ')
    .replace(/(?<![\p{L}\p{N}])(?:a|an|the)(?![\p{L}\p{N}])/gu, ' ')
    .split(/\s+/)
    .filter((word) => word !== '')
    .join(' ')
    .replace(/(?<=\p{Script=Han}) | (?=\p{Script=Han})/gu, '');
}

/** Returns whether two quantities are equal. A unit counts only if both have one. */
function isSameQuantity(own: Quantity, other: Quantity, tolerance: number): boolean {
  const compared = own.unit !== null && other.unit !== null;
  if (compared && own.unit.dimension !== other.unit.dimension) return false;
  const [first, second] = compared
    ? [own.value * own.unit.factor, other.value * other.unit.factor]
    : [own.value, other.value];
  return Math.abs(first - second) <= tolerance * Math.max(Math.abs(first), Math.abs(second));
}

function kindOf(reference: string): Exclude<AnswerKind, 'auto'> {
  const compared = plain(reference);
  if (/^[(（]?[A-J][)）.]?$/.test(compared)) return 'choice';
  return numberIn(compared, 'whole') === null ? 'text' : 'number';
}

/** Returns whether a reply gives the answer of the reference. */
export function isSameAnswer(
  { prediction, reference }: Pair,
  { kind = 'auto', tolerance = 1e-6 }: AnswerOptions = {},
): boolean {
  const chosen = kind === 'auto' ? kindOf(reference) : kind;
  if (chosen === 'choice') {
    const letter = choiceIn(prediction);
    return letter !== null && letter === choiceIn(reference);
  }
  if (chosen === 'number') {
    const [own, expected] = [numberIn(plain(prediction), 'last'), numberIn(plain(reference), 'last')];
    return own !== null && expected !== null && isSameQuantity(own, expected, tolerance);
  }
  return comparableText(prediction) === comparableText(reference);
}

/** The additive form of {@link answerAccuracy}. */
export const additiveAnswers = (options: AnswerOptions = {}): Additive<Pair> =>
  meanOf((pair) => (isSameAnswer(pair, options) ? 1 : 0));

/**
 * Returns the share of replies that give the answer of their reference: the same choice letter, the same last number,
 * or the same text, after normalisation for English and Chinese. Returns NaN without pairs.
 */
export const answerAccuracy = (pairs: readonly Pair[], options: AnswerOptions = {}): number =>
  scoreOf(additiveAnswers(options), pairs);
