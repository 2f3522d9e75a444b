import { distance } from 'fastest-levenshtein';

const normalize = (name: string) => name.toLowerCase().replaceAll(/[-_\s.]/g, '');

/** Returns whether two names differ by two swapped neighbouring letters, a single typing error. */
function isSwap(a: string, b: string): boolean {
  const at = [...a].findIndex((letter, index) => letter !== b[index]);
  return (
    at >= 0 &&
    a.length === b.length &&
    a.slice(at, at + 2) === `${b[at + 1] ?? ''}${b[at] ?? ''}` &&
    a.slice(at + 2) === b.slice(at + 2)
  );
}

/**
 * Returns the candidate that a misspelled name most likely means, or undefined. A candidate matches if at most about
 * one letter in three differs. It also matches if it has at least four letters and the name contains it (`lora_alpha`:
 * `alpha`).
 */
export function nearest(name: string, candidates: readonly string[]): string | undefined {
  let best: string | undefined;
  let least = Infinity;
  const written = normalize(name);
  for (const candidate of candidates) {
    const other = normalize(candidate);
    const edits = isSwap(written, other) ? 1 : distance(written, other);
    if (edits < least && edits <= Math.max(1, Math.floor(Math.max(written.length, candidate.length) / 3))) {
      best = candidate;
      least = edits;
    }
  }
  return (
    best ??
    candidates
      .filter((candidate) => candidate.length >= 4 && written.includes(normalize(candidate)))
      .toSorted((a, b) => b.length - a.length)[0]
  );
}

/** Returns a suggestion, for example `Did you mean 'rank'?`, or undefined if no candidate is similar. */
export function didYouMean(name: string, candidates: readonly string[]): string | undefined {
  const candidate = nearest(name, candidates);
  return candidate === undefined ? undefined : `Did you mean '${candidate}'?`;
}
