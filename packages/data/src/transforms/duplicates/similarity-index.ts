import { GrowingInts } from '../../batching/growing-ints.js';
import { BandTable } from './hash-map.js';
import { rowsOfBand, SIGNATURE_VALUES, sketchSimilarity } from './min-hash.js';
import { createSketchStore, type SketchStore } from './sketch-store.js';

/** What of a set is needed to find others like it. */
export interface SetSummary {
  readonly signature: Uint32Array;
  readonly sketch: Uint32Array;
}

/** Finds sets that are much like an earlier one, by locality-sensitive hashing: what shares a whole band of its signature is compared. */
export interface SimilarityIndex {
  /** A set that was added before and is at least as similar as the threshold; of several, a late one. */
  find(set: SetSummary): { readonly entry: number; readonly similarity: number } | null;
  /** Adds a set under the next number, from 0. */
  add(set: SetSummary): number;
}

/** One number a band. */
function bandKeys(signature: Uint32Array, rows: number): Uint32Array {
  return Uint32Array.from({ length: SIGNATURE_VALUES / rows }, (_, band) => {
    let key = 0x811c9dc5 ^ band;
    for (let index = band * rows; index < (band + 1) * rows; index++) key = Math.imul(key ^ (signature[index] as number), 0x01000193);
    key = Math.imul(key ^ (key >>> 16), 0x85ebca6b);
    return key ^ (key >>> 13);
  });
}

/**
 * Sets that one search compares at most, the latest first. Where thousands are half alike (letters from one form), all of them share bands, and comparing
 * each with all would take for ever.
 */
const MOST_COMPARED = 200;
/** Sets whose signatures one search looks at, at most: a look costs a hundredth of a comparison. */
const MOST_LOOKED_AT = 2000;

/** The lowest byte of each value of every signature: enough to see that two sets are not nearly alike, without their sketches. */
class SignatureBytes {
  readonly #words = new GrowingInts();

  static pack(signature: Uint32Array): Int32Array {
    const bytes = Uint8Array.from(signature, (value) => value & 0xff);
    return new Int32Array(bytes.buffer);
  }

  add(packed: Int32Array): void {
    for (const word of packed) this.#words.push(word);
  }

  /** In how many of the values an entry agrees. */
  agreement(packed: Int32Array, entry: number): number {
    const start = entry * packed.length;
    let agree = 0;
    for (let index = 0; index < packed.length; index++) {
      const differing = (packed[index] as number) ^ this.#words.at(start + index);
      if ((differing & 0xff) === 0) agree++;
      if ((differing & 0xff00) === 0) agree++;
      if ((differing & 0xff0000) === 0) agree++;
      if ((differing & 0xff000000) === 0) agree++;
    }
    return agree;
  }
}

/**
 * Some 350 bytes a set are kept in memory, and its sketch (up to 1 kB) in memory or a temporary file.
 */
export function createSimilarityIndex(threshold: number, sketches: SketchStore = createSketchStore()): SimilarityIndex {
  const rows = rowsOfBand(threshold);
  const table = new BandTable(SIGNATURE_VALUES / rows);
  const signatures = new SignatureBytes();
  // The share of equal values is the similarity, give or take 0.06: what lies two and a half times that below the threshold is not compared.
  const leastAgreement = Math.floor(SIGNATURE_VALUES * (threshold - 0.15));
  // The number of the search that saw an entry last: no entry is looked at twice in one.
  const seenBy = new GrowingInts();
  let finds = 0;
  let latest: { signature: Uint32Array; keys: Uint32Array; packed: Int32Array } | null = null;
  const prepared = (signature: Uint32Array) => {
    if (latest?.signature !== signature) latest = { signature, keys: bandKeys(signature, rows), packed: SignatureBytes.pack(signature) };
    return latest;
  };

  return {
    find({ signature, sketch }) {
      const { keys, packed } = prepared(signature);
      let found: { entry: number; similarity: number } | null = null;
      let compared = 0;
      let lookedAt = 0;
      finds++;
      const goesOn = (): boolean => found === null && compared < MOST_COMPARED && lookedAt < MOST_LOOKED_AT;
      for (let band = 0; band < keys.length && goesOn(); band++) {
        table.visit(keys[band] as number, (entry) => {
          if (seenBy.at(entry) === finds) return true;
          seenBy.set(entry, finds);
          lookedAt++;
          if (signatures.agreement(packed, entry) >= leastAgreement) {
            compared++;
            const similarity = sketchSimilarity(sketch, sketches.read(entry), threshold);
            if (similarity >= threshold) found = { entry, similarity };
          }
          return goesOn();
        });
      }
      return found;
    },
    add({ signature, sketch }) {
      const { keys, packed } = prepared(signature);
      table.add(keys);
      signatures.add(packed);
      sketches.add(sketch);
      seenBy.push(0);
      return seenBy.length - 1;
    },
  };
}
