import { distance } from 'fastest-levenshtein';

const normalize = (name: string) => name.toLowerCase().replaceAll(/[-_\s.]/g, '');

/**
 * The candidate that a misspelled name most likely meant, or undefined where none is near: about one edit in three letters,
 * or else one of at least four letters that the name holds whole (`lora_alpha`: `alpha`).
 */
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
  return best ?? candidates.filter((candidate) => candidate.length >= 4 && wanted.includes(normalize(candidate))).toSorted((a, b) => b.length - a.length)[0];
}

/** `Did you mean 'rank'?`, or undefined. */
export function didYouMean(name: string, candidates: readonly string[]): string | undefined {
  const candidate = nearest(name, candidates);
  return candidate === undefined ? undefined : `Did you mean '${candidate}'?`;
}
