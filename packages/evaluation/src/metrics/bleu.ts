import type { Pair } from './chrf.js';
import { countsOf, ngramsOf } from './tokens.js';

/**
 * How sacrebleu splits texts: `13a` for languages with spaces, `zh` for Chinese, `char` into characters, `none` at
 * white space.
 */
export type BleuTokenize = '13a' | 'zh' | 'char' | 'none';

const ORDER = 4;

const wordsOf = (text: string): string[] => text.split(/\s+/).filter((word) => word !== '');

/** mteval's rules for punctuation: marks stand alone, but for points and commas within numbers. */
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

/**
 * BLEU (Papineni et al. 2002) of a corpus, 0 to 100, as sacrebleu gives it: n-grams up to 4, zero counts smoothed by
 * halving (`exp`), case kept.
 *
 * @param effectiveOrder leave out orders that the texts are too short for: for single sentences
 */
export function bleu(
  pairs: readonly Pair[],
  {
    tokenize = '13a',
    effectiveOrder = false,
  }: { readonly tokenize?: BleuTokenize; readonly effectiveOrder?: boolean } = {},
): number {
  const split = tokenizers[tokenize];
  const matches = Array.from({ length: ORDER }, () => 0);
  const totals = Array.from({ length: ORDER }, () => 0);
  let [predicted, expected] = [0, 0];
  for (const { prediction, reference } of pairs) {
    const [found, wanted] = [split(prediction.trimEnd()), split(reference.trimEnd())];
    predicted += found.length;
    expected += wanted.length;
    for (let order = 1; order <= ORDER; order++) {
      const available = countsOf(ngramsOf(wanted, order));
      const own = ngramsOf(found, order);
      totals[order - 1] = (totals[order - 1] ?? 0) + own.length;
      for (const [ngram, count] of countsOf(own))
        matches[order - 1] = (matches[order - 1] ?? 0) + Math.min(count, available.get(ngram) ?? 0);
    }
  }
  if (matches.every((count) => count === 0)) return 0;
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
  const brevity = predicted < expected ? Math.exp(1 - expected / predicted) : 1;
  return brevity * Math.exp(sum / orders);
}
