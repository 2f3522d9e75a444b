import { accumulate, createMean, type Accumulator } from './accumulate.js';
import type { Pair } from './chrf.js';

const normalized = (text: string): string => text.normalize('NFC').trim().replace(/\s+/g, ' ');

export interface ExactMatchOptions {
  readonly ignoreCase?: boolean;
  readonly ignorePunctuation?: boolean;
}

/** Accumulates {@link exactMatch}. */
export function createExactMatch({
  ignoreCase = false,
  ignorePunctuation = false,
}: ExactMatchOptions = {}): Accumulator<Pair> {
  const comparable = (text: string): string => {
    const compared = ignorePunctuation ? text.replace(/\p{P}/gu, '') : text;
    return normalized(ignoreCase ? compared.toLowerCase() : compared);
  };
  const mean = createMean(NaN);
  return {
    add: ({ prediction, reference }) => mean.add(comparable(prediction) === comparable(reference) ? 1 : 0),
    result: () => mean.result(),
  };
}

/**
 * Returns the share of predictions that equal the reference, except for white space, and for case and punctuation if
 * ignored. Returns NaN without pairs.
 */
export const exactMatch = (pairs: readonly Pair[], options: ExactMatchOptions = {}): number =>
  accumulate(createExactMatch(options), pairs);
