import { distance } from 'fastest-levenshtein';

const normalize = (name: string) => name.toLowerCase().replaceAll(/[-_\s.]/g, '');

/** Two neighbouring letters are in the wrong order: one slip of the fingers, though two edits. */
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
 * The candidate that a misspelled name most likely meant, or undefined where none is near: about one edit in three
 * letters, or else one of at least four letters that the name holds whole (`lora_alpha`: `alpha`).
 */
export function nearest(name: string, candidates: readonly string[]): string | undefined {
  let best: string | undefined;
  let least = Infinity;
  const wanted = normalize(name);
  for (const candidate of candidates) {
    const other = normalize(candidate);
    const edits = isSwap(wanted, other) ? 1 : distance(wanted, other);
    if (edits < least && edits <= Math.max(1, Math.floor(Math.max(wanted.length, candidate.length) / 3))) {
      best = candidate;
      least = edits;
    }
  }
  return (
    best ??
    candidates
      .filter((candidate) => candidate.length >= 4 && wanted.includes(normalize(candidate)))
      .toSorted((a, b) => b.length - a.length)[0]
  );
}

/** `Did you mean 'rank'?`, or undefined. */
export function didYouMean(name: string, candidates: readonly string[]): string | undefined {
  const candidate = nearest(name, candidates);
  return candidate === undefined ? undefined : `Did you mean '${candidate}'?`;
}
