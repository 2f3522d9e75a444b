import { accumulate, type Accumulator } from './accumulate.js';
import { meanPrecision, ORDER, tokenizeForBleu, type BleuTokenize } from './bleu.js';
import { countsOf, ngramsOf } from './tokens.js';

/** The tokens of a text, and how often it contains each n-gram, by order from 1 on. */
interface CountedText {
  readonly length: number;
  readonly counts: readonly ReadonlyMap<string, number>[];
}

function countedText(text: string, tokenize: BleuTokenize): CountedText {
  const tokens = tokenizeForBleu(text, tokenize);
  const counts = Array.from({ length: ORDER }, (_, index) => countsOf(ngramsOf(tokens, index + 1)));
  return { length: tokens.length, counts };
}

/** Returns BLEU of a text against several references, with sacrebleu's effective order. */
function sentenceBleu(text: CountedText, references: readonly CountedText[]): number {
  const totals = text.counts.map((_, index) => Math.max(0, text.length - index));
  const matches = text.counts.map((own, index) => {
    let sum = 0;
    for (const [ngram, count] of own) {
      const most = Math.max(...references.map(({ counts }) => counts[index]?.get(ngram) ?? 0));
      sum += Math.min(count, most);
    }
    return sum;
  });
  if (matches.every((count) => count === 0)) return 0;
  // The reference whose length is closest; of two, the shorter one.
  const [closest = 0] = references
    .map(({ length }) => length)
    .toSorted((a, b) => Math.abs(a - text.length) - Math.abs(b - text.length) || a - b);
  const brevity = text.length < closest ? Math.exp(1 - closest / text.length) : 1;
  return brevity * meanPrecision(matches, totals, true);
}

/** Options of {@link selfBleu}. */
export interface SelfBleuOptions {
  readonly tokenize?: BleuTokenize;
  /** Number of texts that are compared with each other, the first ones; 200 by default. */
  readonly most?: number;
}

/** Accumulates {@link selfBleu}. It keeps the n-grams of at most `most` texts. */
export function createSelfBleu({ tokenize = '13a', most = 200 }: SelfBleuOptions = {}): Accumulator<string> {
  const texts: CountedText[] = [];
  return {
    add: (text) => {
      if (texts.length < most) texts.push(countedText(text, tokenize));
    },
    result: () => {
      if (texts.length < 2) return NaN;
      const others = (text: CountedText) => texts.filter((other) => other !== text);
      return texts.reduce((sum, text) => sum + sentenceBleu(text, others(text)), 0) / texts.length;
    },
  };
}

/**
 * Returns self-BLEU (Zhu et al. 2018), 0 to 100: the mean BLEU of each text with all others as references. High if the
 * texts are similar. Equal to the mean of sacrebleu's sentence BLEU. Returns NaN for fewer than two texts.
 */
export const selfBleu = (texts: readonly string[], options: SelfBleuOptions = {}): number =>
  accumulate(createSelfBleu(options), texts);
