import { HashMap } from '../transforms/duplicates/hash-map.js';
import { hashText } from '../transforms/duplicates/fingerprint.js';
import { unitsOf } from './terms.js';

/**
 * The diversity of replies: the share of distinct n-grams among all n-grams (Li et al., "A Diversity-Promoting
 * Objective Function", 2016).
 */
export interface Diversity {
  readonly words: number;
  /** Number of distinct words. */
  readonly vocabulary: number;
  readonly distinct1: number;
  readonly distinct2: number;
  readonly distinct3: number;
}

/** The most n-grams of each size that are counted; further ones are ignored. */
const MOST_NGRAMS = 2_000_000;

type Ngrams = readonly [Float64Array, Float64Array, Float64Array];

/** Counts the words of texts. With `withHashes`, also returns the hashes of their n-grams of one to three words. */
export function ngramHashes(
  texts: readonly string[],
  withHashes: boolean,
): { readonly words: number; readonly hashes: Ngrams | null } {
  const hashes: [number[], number[], number[]] = [[], [], []];
  let words = 0;
  for (const text of texts) {
    const units = unitsOf(text);
    words += units.length;
    if (!withHashes) continue;
    for (const [shorter, all] of hashes.entries()) {
      for (let start = 0; start + shorter < units.length; start++)
        all.push(hashText(shorter === 0 ? (units[start] ?? '') : units.slice(start, start + shorter + 1).join(' ')));
    }
  }
  return {
    words,
    hashes: withHashes
      ? [Float64Array.from(hashes[0]), Float64Array.from(hashes[1]), Float64Array.from(hashes[2])]
      : null,
  };
}

export interface DiversityCounter {
  /** False once the most n-grams of each size were counted. */
  readonly needsMore: boolean;
  add(words: number, ngrams: Ngrams | null): void;
  result(): Diversity;
}

export function createDiversityCounter(): DiversityCounter {
  const seen = [new HashMap(), new HashMap(), new HashMap()];
  const totals = [0, 0, 0];
  let words = 0;
  return {
    get needsMore() {
      return totals.some((total) => total < MOST_NGRAMS);
    },
    add(more, ngrams) {
      words += more;
      for (const [size, hashes] of (ngrams ?? []).entries()) {
        const taken = hashes.subarray(0, MOST_NGRAMS - (totals[size] ?? 0));
        for (const hash of taken) seen[size]?.add(hash, 0);
        totals[size] = (totals[size] ?? 0) + taken.length;
      }
    },
    result() {
      const share = (size: number): number => (totals[size] === 0 ? 0 : (seen[size]?.size ?? 0) / (totals[size] ?? 1));
      return { words, vocabulary: seen[0]?.size ?? 0, distinct1: share(0), distinct2: share(1), distinct3: share(2) };
    },
  };
}
