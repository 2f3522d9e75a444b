import type { Pair } from './chrf.js';

const normalised = (text: string): string => text.normalize('NFC').trim().replace(/\s+/g, ' ');

/**
 * The share of predictions that are the reference, white space aside; `ignoreCase` and `ignorePunctuation` as they say.
 * NaN where there is no pair.
 */
export function exactMatch(
  pairs: readonly Pair[],
  {
    ignoreCase = false,
    ignorePunctuation = false,
  }: { readonly ignoreCase?: boolean; readonly ignorePunctuation?: boolean } = {},
): number {
  const form = (text: string): string => {
    const kept = ignorePunctuation ? text.replace(/\p{P}/gu, '') : text;
    return normalised(ignoreCase ? kept.toLowerCase() : kept);
  };
  return pairs.filter(({ prediction, reference }) => form(prediction) === form(reference)).length / pairs.length;
}
