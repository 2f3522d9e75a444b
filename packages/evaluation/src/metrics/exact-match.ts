import { meanOf, scoreOf, type Additive } from './accumulate.js';
import type { Pair } from './chrf.js';

const normalized = (text: string): string => text.normalize('NFC').trim().replace(/\s+/g, ' ');

export interface ExactMatchOptions {
  readonly ignoreCase?: boolean;
  readonly ignorePunctuation?: boolean;
}

/** The additive form of {@link exactMatch}. */
export function additiveExactMatch({
  ignoreCase = false,
  ignorePunctuation = false,
}: ExactMatchOptions = {}): Additive<Pair> {
  const comparable = (text: string): string => {
    const compared = ignorePunctuation ? text.replace(/\p{P}/gu, '') : text;
    return normalized(ignoreCase ? compared.toLowerCase() : compared);
  };
  return meanOf(({ prediction, reference }) => (comparable(prediction) === comparable(reference) ? 1 : 0));
}

/**
 * Returns the share of predictions that equal the reference, except for white space, and for case and punctuation if
 * ignored. Returns NaN without pairs.
 */
export const exactMatch = (pairs: readonly Pair[], options: ExactMatchOptions = {}): number =>
  scoreOf(additiveExactMatch(options), pairs);
