import { hashText } from '../transforms/duplicates/fingerprint.js';
import { unitsOf } from './terms.js';

/** How varied the replies are (Li et al., "A Diversity-Promoting Objective Function", 2016): distinct n-grams as a share of all. */
export interface Diversity {
  readonly words: number;
  readonly vocabulary: number;
  readonly distinct1: number;
  readonly distinct2: number;
  readonly distinct3: number;
}

/** So many n-grams of a size are looked at; what comes after is left out of the shares. */
const MOST_NGRAMS = 2_000_000;

export interface DiversityCounter {
  add(text: string): void;
  result(): Diversity;
}

export function createDiversityCounter(): DiversityCounter {
  const seen = [new Set<number>(), new Set<number>(), new Set<number>()];
  const totals = [0, 0, 0];
  let words = 0;
  return {
    add(text) {
      const units = unitsOf(text);
      words += units.length;
      for (let size = 1; size <= 3; size++) {
        for (let start = 0; start + size <= units.length && (totals[size - 1] ?? 0) < MOST_NGRAMS; start++) {
          totals[size - 1] = (totals[size - 1] ?? 0) + 1;
          seen[size - 1]?.add(hashText(units.slice(start, start + size).join(' ')));
        }
      }
    },
    result() {
      const share = (size: number): number => (totals[size - 1] === 0 ? 0 : (seen[size - 1]?.size ?? 0) / (totals[size - 1] ?? 1));
      return { words, vocabulary: seen[0]?.size ?? 0, distinct1: share(1), distinct2: share(2), distinct3: share(3) };
    },
  };
}
