import { scoreOf, type Additive } from './accumulate.js';
import type { Pair } from './chrf.js';
import { commonCount, ngramsOf } from './tokens.js';

/**
 * A tokenizer of sacrebleu: `13a` for languages with spaces, `zh` for Chinese, `char` for characters, `none` for
 * splitting at white space.
 */
export type BleuTokenize = '13a' | 'zh' | 'char' | 'none';

/** The longest n-grams. */
export const ORDER = 4;

const wordsOf = (text: string): string[] => text.split(/\s+/).filter((word) => word !== '');

/** Separates punctuation by mteval's rules: marks are tokens, except periods and commas within numbers. */
function separate(text: string): string[] {
  return wordsOf(
    ` ${text} `
      .replace(/([{-~[-` -&(-+:-@/])/g, ' $1 ')
      .replace(/([^0-9])([.,])/g, '$1 $2 ')
      .replace(/([.,])([^0-9])/g, ' $1 $2')
      .replace(/([0-9])(-)/g, '$1 $2 '),
  );
}

const entities: readonly (readonly [string, string])[] = [
  ['&quot;', '"'],
  ['&amp;', '&'],
  ['&lt;', '<'],
  ['&gt;', '>'],
];
const chineseCharacters = [
  '\\p{Script=Han}',
  '\\u2e80-\\u2fdf', // radicals
  '\\u3000-\\u303f', // symbols and punctuation
  '\\u31c0-\\u31ef', // strokes
  '\\uff00-\\uffef', // half-width and full-width forms
  '\\ufe30-\\ufe4f', // compatibility forms
  '\\u3100-\\u312f\\u31a0-\\u31bf', // Bopomofo
  '\\u2f00-\\u2fff', // Kangxi radicals and ideographic description characters
];
const isChinese = new RegExp(`[${chineseCharacters.join('')}]`, 'u');

const tokenizers: Readonly<Record<BleuTokenize, (text: string) => string[]>> = {
  none: wordsOf,
  char: (text) => [...text].filter((character) => character.trim() !== ''),
  zh: (text) =>
    separate([...text.trim()].map((character) => (isChinese.test(character) ? ` ${character} ` : character)).join('')),
  '13a': (text) =>
    separate(
      entities.reduce(
        (result, [entity, mark]) => result.replaceAll(entity, mark),
        text.replaceAll('<skipped>', '').replaceAll('-\n', '').replaceAll('\n', ' '),
      ),
    ),
};

/** Returns the tokens of a text. */
export const tokenizeForBleu = (text: string, tokenize: BleuTokenize): string[] => tokenizers[tokenize](text.trimEnd());

export interface BleuOptions {
  readonly tokenize?: BleuTokenize;
  /** Whether to skip orders for which the texts are too short, for single sentences. */
  readonly effectiveOrder?: boolean;
}

/** The additive form of {@link bleu}: matching n-grams and all n-grams of each order, and the tokens of both texts. */
export function additiveBleu({ tokenize = '13a', effectiveOrder = false }: BleuOptions = {}): Additive<Pair> {
  return {
    statistics: ({ prediction, reference }) => {
      const [predicted, expected] = [prediction, reference].map((text) => tokenizeForBleu(text, tokenize)) as [
        string[],
        string[],
      ];
      const [matches, totals] = [[], []] as [number[], number[]];
      for (let order = 1; order <= ORDER; order++) {
        const own = ngramsOf(predicted, order);
        totals.push(own.length);
        matches.push(commonCount(own, ngramsOf(expected, order)));
      }
      return [...matches, ...totals, predicted.length, expected.length];
    },
    score: (sums) => {
      const [matches, totals] = [sums.slice(0, ORDER), sums.slice(ORDER, 2 * ORDER)];
      const [predicted = 0, expected = 0] = sums.slice(2 * ORDER);
      if (matches.every((count) => count === 0)) return 0;
      const brevity = predicted < expected ? Math.exp(1 - expected / predicted) : 1;
      return brevity * meanPrecision(matches, totals, effectiveOrder);
    },
  };
}

/** Returns the geometric mean of the precisions of all orders, in percent, with exponential smoothing. */
export function meanPrecision(matches: readonly number[], totals: readonly number[], effectiveOrder: boolean): number {
  let orders = effectiveOrder ? 0 : ORDER;
  let smoothing = 1;
  let sum = 0;
  for (let order = 0; order < ORDER; order++) {
    const [count = 0, total = 0] = [matches[order], totals[order]];
    if (total === 0) {
      if (!effectiveOrder) return 0;
      break;
    }
    if (effectiveOrder) orders = order + 1;
    if (count === 0) smoothing *= 2;
    sum += Math.log(count === 0 ? 100 / (smoothing * total) : (100 * count) / total);
  }
  return Math.exp(sum / orders);
}

/**
 * Returns BLEU (Papineni et al. 2002) of a corpus, 0 to 100, equal to that of sacrebleu: n-grams up to 4, exponential
 * smoothing of zero counts (`exp`), case-sensitive.
 */
export const bleu = (pairs: readonly Pair[], options: BleuOptions = {}): number =>
  scoreOf(additiveBleu(options), pairs);
