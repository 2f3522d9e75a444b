import { GrowingInts } from '../../batching/growing-ints.js';
import { BandTable } from './hash-map.js';
import { rowsOfBand, SIGNATURE_VALUES, sketchSimilarity } from './min-hash.js';
import { createSketchStore, type SketchStore } from './sketch-store.js';
import { FNV_OFFSET, fnv1aStep } from '@whetstone/core/util';

/** What of a set is needed to find others like it. */
export interface SetSummary {
  readonly signature: Uint32Array;
  readonly sketch: Uint32Array;
}

/**
 * Finds sets that are much like an earlier one, by locality-sensitive hashing: what shares a whole band of its
 * signature is compared.
 */
export interface SimilarityIndex {
  /** A set that was added before and is at least as similar as the threshold; of several, a late one. */
  find(set: SetSummary): { readonly entry: number; readonly similarity: number } | null;
  /** Adds a set under the next number, from 0. */
  add(set: SetSummary): number;
}

/** One number a band. */
function bandKeys(signature: Uint32Array, rows: number): Uint32Array {
  const keys = new Uint32Array(SIGNATURE_VALUES / rows);
  for (let band = 0; band < keys.length; band++) {
    let key = FNV_OFFSET ^ band;
    for (let index = band * rows; index < (band + 1) * rows; index++) key = fnv1aStep(key, signature[index] as number);
    key = Math.imul(key ^ (key >>> 16), 0x85ebca6b);
    keys[band] = key ^ (key >>> 13);
  }
  return keys;
}

/**
 * Sets that one search compares at most, the latest first. Where thousands are half alike (letters from one form), all
 * of them share bands, and comparing each with all would take for ever.
 */
const MOST_COMPARED = 200;
/** Sets whose signatures one search looks at, at most: a look costs a hundredth of a comparison. */
const MOST_LOOKED_AT = 2000;

/** Values of each signature of which a byte is kept. */
const KEPT_BYTES = 64;
const ENTRY_WORDS = KEPT_BYTES / 4;
const ENTRIES_A_PAGE = 1 << 12;

/** 0x80 in every byte of a word that is zero. */
const zeroBytes = (word: number): number => ~(((word & 0x7f7f7f7f) + 0x7f7f7f7f) | word | 0x7f7f7f7f);

/**
 * The lowest byte of the first values of every signature: enough to see that two sets are not nearly alike, without
 * their sketches.
 */
class SignatureBytes {
  private readonly pages: Int32Array[] = [];
  private length = 0;

  static pack(signature: Uint32Array): Int32Array {
    const packed = new Int32Array(ENTRY_WORDS);
    for (let word = 0, at = 0; word < ENTRY_WORDS; word++, at += 4) {
      const [a, b, c, d] = [
        signature[at] as number,
        signature[at + 1] as number,
        signature[at + 2] as number,
        signature[at + 3] as number,
      ];
      packed[word] = (a & 0xff) | ((b & 0xff) << 8) | ((c & 0xff) << 16) | (d << 24);
    }
    return packed;
  }

  add(packed: Int32Array): void {
    if (this.length === this.pages.length * ENTRIES_A_PAGE)
      this.pages.push(new Int32Array(ENTRIES_A_PAGE * ENTRY_WORDS));
    this.pages[this.pages.length - 1]?.set(packed, (this.length++ % ENTRIES_A_PAGE) * ENTRY_WORDS);
  }

  /** Whether an entry agrees in so many of the bytes. */
  agrees(packed: Int32Array, entry: number, least: number): boolean {
    const page = this.pages[Math.floor(entry / ENTRIES_A_PAGE)] as Int32Array;
    const start = (entry % ENTRIES_A_PAGE) * ENTRY_WORDS;
    let agree = 0;
    for (let index = 0; index < ENTRY_WORDS; index++) {
      const equal = zeroBytes((packed[index] as number) ^ (page[start + index] as number));
      // One bit a byte, added up in the highest byte.
      agree += Math.imul(equal >>> 7, 0x01010101) >>> 24;
    }
    return agree >= least;
  }
}

/**
 * Some 500 bytes a set are kept in memory, and its sketch (up to 1 kB) in memory or a temporary file.
 */
export function createSimilarityIndex(threshold: number, sketches: SketchStore = createSketchStore()): SimilarityIndex {
  const rows = rowsOfBand(threshold);
  const table = new BandTable(SIGNATURE_VALUES / rows);
  const signatures = new SignatureBytes();
  // The share of equal values is the similarity, give or take 0.06: what lies two and a half times that below the
  // threshold is not compared.
  const leastAgreement = Math.floor(KEPT_BYTES * (threshold - 0.15));
  // The number of the search that compared an entry last: none is compared twice in one.
  const seenBy = new GrowingInts();
  let finds = 0;
  let latest: { signature: Uint32Array; keys: Uint32Array; packed: Int32Array } | null = null;
  const prepared = (signature: Uint32Array) => {
    if (latest?.signature !== signature)
      latest = { signature, keys: bandKeys(signature, rows), packed: SignatureBytes.pack(signature) };
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
          lookedAt++;
          if (!signatures.agrees(packed, entry, leastAgreement) || seenBy.at(entry) === finds) return goesOn();
          seenBy.set(entry, finds);
          compared++;
          const similarity = sketchSimilarity(sketch, sketches.read(entry), threshold);
          if (similarity >= threshold) found = { entry, similarity };
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
