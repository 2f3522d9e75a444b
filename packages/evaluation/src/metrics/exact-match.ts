import type { Pair } from './chrf.js';

const normalized = (text: string): string => text.normalize('NFC').trim().replace(/\s+/g, ' ');

/**
 * Returns the share of predictions that equal the reference, except for white space, and for case and punctuation if
 * ignored. Returns NaN without pairs.
 */
export function exactMatch(
  pairs: readonly Pair[],
  {
    ignoreCase = false,
    ignorePunctuation = false,
  }: { readonly ignoreCase?: boolean; readonly ignorePunctuation?: boolean } = {},
): number {
  const comparable = (text: string): string => {
    const compared = ignorePunctuation ? text.replace(/\p{P}/gu, '') : text;
    return normalized(ignoreCase ? compared.toLowerCase() : compared);
  };
  const matches = pairs.filter(({ prediction, reference }) => comparable(prediction) === comparable(reference));
  return matches.length / pairs.length;
}
