import { distance } from 'fastest-levenshtein';

const normalize = (name: string) => name.toLowerCase().replaceAll(/[-_\s.]/g, '');

/** The candidate that a misspelled name most likely meant, or undefined where none is near: about one edit in three letters. */
export function nearest(name: string, candidates: readonly string[]): string | undefined {
  let best: string | undefined;
  let least = Infinity;
  const wanted = normalize(name);
  for (const candidate of candidates) {
    const edits = distance(wanted, normalize(candidate));
    if (edits < least && edits <= Math.max(1, Math.floor(Math.max(wanted.length, candidate.length) / 3))) {
      best = candidate;
      least = edits;
    }
  }
  return best;
}

/** `Did you mean 'rank'?`, or undefined. */
export function didYouMean(name: string, candidates: readonly string[]): string | undefined {
  const candidate = nearest(name, candidates);
  return candidate === undefined ? undefined : `Did you mean '${candidate}'?`;
}
