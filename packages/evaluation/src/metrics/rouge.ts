import type { Additive } from './accumulate.js';
import type { Pair } from './chrf.js';
import { commonCount, countsOf, ngramsOf } from './tokens.js';

export interface RougeScore {
  readonly precision: number;
  readonly recall: number;
  readonly f: number;
}

/**
 * `words`: the tokenizer of rouge-score, which uses only Latin letters and digits. `characters`: for languages without
 * spaces, in which `words` finds no tokens.
 */
export type RougeTokenize = 'words' | 'characters';
export const ROUGE_KINDS = ['rouge1', 'rouge2', 'rougeL', 'rougeLsum'] as const;
export type RougeKind = (typeof ROUGE_KINDS)[number];

const tokenizers: Readonly<Record<RougeTokenize, (text: string) => string[]>> = {
  words: (text) => text.toLowerCase().match(/[a-z0-9]+/g) ?? [],
  characters: (text) => [...text].filter((character) => character.trim() !== ''),
};

function scoreOf(hits: number, predicted: number, expected: number): RougeScore {
  const [precision, recall] = [predicted === 0 ? 0 : hits / predicted, expected === 0 ? 0 : hits / expected];
  return { precision, recall, f: precision + recall === 0 ? 0 : (2 * precision * recall) / (precision + recall) };
}

/** Returns the lengths of the longest common subsequences of all prefixes, [reference + 1, prediction + 1]. */
function lengths(reference: readonly string[], prediction: readonly string[]): Int32Array[] {
  const table = Array.from({ length: reference.length + 1 }, () => new Int32Array(prediction.length + 1));
  for (let i = 1; i <= reference.length; i++) {
    const [row, above] = [table[i] as Int32Array, table[i - 1] as Int32Array];
    for (let j = 1; j <= prediction.length; j++)
      row[j] =
        reference[i - 1] === prediction[j - 1] ? (above[j - 1] ?? 0) + 1 : Math.max(above[j] ?? 0, row[j - 1] ?? 0);
  }
  return table;
}

/** Returns the indices in the reference of one longest common subsequence. */
function commonIndices(reference: readonly string[], prediction: readonly string[]): number[] {
  const table = lengths(reference, prediction);
  const indices: number[] = [];
  let [i, j] = [reference.length, prediction.length];
  while (i > 0 && j > 0) {
    if (reference[i - 1] === prediction[j - 1]) {
      indices.push(--i);
      j--;
    } else if ((table[i]?.[j - 1] ?? 0) > (table[i - 1]?.[j] ?? 0)) j--;
    else i--;
  }
  return indices.reverse();
}

/**
 * Returns ROUGE-Lsum. For each line of the reference, counts the union of its common subsequences with all lines of the
 * prediction. No token counts twice.
 */
function summaryScore(predicted: readonly (readonly string[])[], expected: readonly (readonly string[])[]): RougeScore {
  const [remainingPredicted, remainingExpected] = [countsOf(predicted.flat()), countsOf(expected.flat())];
  let hits = 0;
  for (const line of expected) {
    const indices = [...new Set(predicted.flatMap((other) => commonIndices(line, other)))].sort((a, b) => a - b);
    for (const index of indices) {
      const token = line[index] ?? '';
      const [own, other] = [remainingPredicted.get(token) ?? 0, remainingExpected.get(token) ?? 0];
      if (own === 0 || other === 0) continue;
      hits++;
      remainingPredicted.set(token, own - 1);
      remainingExpected.set(token, other - 1);
    }
  }
  return scoreOf(hits, predicted.flat().length, expected.flat().length);
}

/** Returns ROUGE (Lin 2004) of one prediction, 0 to 1, equal to that of rouge-score without a stemmer. */
export function rouge({ prediction, reference }: Pair, kind: RougeKind, tokenize: RougeTokenize = 'words'): RougeScore {
  const split = tokenizers[tokenize];
  if (kind === 'rougeLsum') {
    const lines = (text: string): string[][] =>
      text
        .split('\n')
        .filter((line) => line !== '')
        .map(split);
    return summaryScore(lines(prediction), lines(reference));
  }
  const [predictedTokens, expectedTokens] = [split(prediction), split(reference)];
  if (kind === 'rougeL')
    return scoreOf(
      lengths(expectedTokens, predictedTokens)[expectedTokens.length]?.[predictedTokens.length] ?? 0,
      predictedTokens.length,
      expectedTokens.length,
    );
  const order = kind === 'rouge1' ? 1 : 2;
  const [own, expected] = [ngramsOf(predictedTokens, order), ngramsOf(expectedTokens, order)];
  return scoreOf(commonCount(own, expected), own.length, expected.length);
}

/** The mean F-score of {@link rouge} by kind, as an additive score; NaN without pairs. */
export const additiveRouge = (
  tokenize: RougeTokenize = 'words',
): Additive<Pair, Readonly<Record<RougeKind, number>>> => ({
  statistics: (pair) => [...ROUGE_KINDS.map((kind) => rouge(pair, kind, tokenize).f), 1],
  score: (sums) => {
    const count = sums[ROUGE_KINDS.length] ?? 0;
    return Object.fromEntries(ROUGE_KINDS.map((kind, index) => [kind, (sums[index] ?? 0) / count])) as Record<
      RougeKind,
      number
    >;
  },
});
