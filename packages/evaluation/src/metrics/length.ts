import type { Additive } from './accumulate.js';
import type { Pair } from './chrf.js';
import { wordsOf } from './tokens.js';

/** The numbers of {@link additiveLength}. */
export const LENGTH_NUMBERS = ['replyWords', 'lengthRatio', 'shortReplies', 'emptyReplies'] as const;

/**
 * The lengths of replies in words, or characters of scripts without spaces: the mean length, the length of all replies
 * divided by that of all references, the share of replies that are shorter than `short` times their reference, and the
 * share of empty ones. NaN without pairs.
 */
export const additiveLength = (
  short: number,
): Additive<Pair, Readonly<Record<(typeof LENGTH_NUMBERS)[number], number>>> => ({
  statistics: ({ prediction, reference }) => {
    const [own, expected] = [wordsOf(prediction).length, wordsOf(reference).length];
    return [own, expected, own < short * expected ? 1 : 0, own === 0 ? 1 : 0, 1];
  },
  score: ([own = 0, expected = 0, shorter = 0, empty = 0, count = 0]) => ({
    replyWords: own / count,
    lengthRatio: expected === 0 ? NaN : own / expected,
    shortReplies: shorter / count,
    emptyReplies: empty / count,
  }),
});
