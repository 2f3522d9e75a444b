import { GrowingInts } from '../../batching/growing-ints.js';
import { minHashSignature, rowsOfBand, SIGNATURE_VALUES, sketchOf, sketchSimilarity } from './min-hash.js';

/** Finds sets that are much like an earlier one, by locality-sensitive hashing: what shares a whole band of its signature is compared. */
export interface SimilarityIndex {
  /** The most similar set that was added before, if it is at least as similar as the threshold. `hashes` is distinct and ascending. */
  find(hashes: Uint32Array): { readonly entry: number; readonly similarity: number } | null;
  /** Adds a set under the next number, from 0. */
  add(hashes: Uint32Array): number;
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

/** Entries under 32-bit keys, chained in typed arrays: a million entries in some 12 MB, where a Map takes 40. */
class Buckets {
  #heads = new Int32Array(1 << 10).fill(-1);
  readonly #keys = new GrowingInts();
  readonly #next = new GrowingInts();

  add(key: number): void {
    if (this.#keys.length >= this.#heads.length) this.#grow();
    this.#keys.push(key | 0);
    this.#next.push(-1);
    this.#link(this.#keys.length - 1);
  }

  /** Calls `visit` with the entries under a key, the latest first, until it says that it has enough. */
  visit(key: number, visit: (entry: number) => boolean): void {
    const wanted = key | 0;
    for (let entry = this.#heads[key & (this.#heads.length - 1)] ?? -1; entry !== -1; entry = this.#next.at(entry)) {
      if (this.#keys.at(entry) === wanted && !visit(entry)) return;
    }
  }

  #link(entry: number): void {
    const slot = this.#keys.at(entry) & (this.#heads.length - 1);
    this.#next.set(entry, this.#heads[slot] ?? -1);
    this.#heads[slot] = entry;
  }

  #grow(): void {
    this.#heads = new Int32Array(this.#heads.length * 4).fill(-1);
    for (let entry = 0; entry < this.#keys.length; entry++) this.#link(entry);
  }
}

/**
 * Sets that one search compares at most, the latest first. Where thousands are half alike (letters from one form), all of them share bands, and comparing
 * each with all would take for ever.
 */
const MOST_COMPARED = 200;

export function createSimilarityIndex(threshold: number): SimilarityIndex {
  const rows = rowsOfBand(threshold);
  const bands = Array.from({ length: SIGNATURE_VALUES / rows }, () => new Buckets());
  const sketches: Uint32Array[] = [];
  // The number of the search that saw an entry last: no entry is compared twice in one.
  const seenBy = new GrowingInts();
  let finds = 0;
  let latest: { hashes: Uint32Array; keys: Uint32Array } | null = null;
  const keysOf = (hashes: Uint32Array): Uint32Array => {
    if (latest?.hashes !== hashes) latest = { hashes, keys: bandKeys(minHashSignature(hashes), rows) };
    return latest.keys;
  };

  return {
    find(hashes) {
      const sketch = sketchOf(hashes);
      let best: { entry: number; similarity: number } | null = null;
      let compared = 0;
      finds++;
      keysOf(hashes).forEach((key, band) => {
        bands[band]?.visit(key, (entry) => {
          if (seenBy.at(entry) === finds) return true;
          seenBy.set(entry, finds);
          const similarity = sketchSimilarity(sketch, sketches[entry] as Uint32Array, threshold);
          if (similarity >= threshold && (best === null || similarity > best.similarity)) best = { entry, similarity };
          return ++compared < MOST_COMPARED;
        });
      });
      return best;
    },
    add(hashes) {
      keysOf(hashes).forEach((key, band) => bands[band]?.add(key));
      seenBy.push(0);
      return sketches.push(sketchOf(hashes)) - 1;
    },
  };
}
