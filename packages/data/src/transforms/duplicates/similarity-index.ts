import { GrowingInts } from '../../batching/growing-ints.js';
import { BandTable } from './hash-map.js';
import { rowsOfBand, SIGNATURE_VALUES, sketchSimilarity } from './min-hash.js';
import { createSketchStore } from './sketch-store.js';
import { FNV_OFFSET, fnv1aStep } from '@whetstone/core/util';

/** The data of a set that is needed to find similar sets. Either can be computed at its first use. */
export interface SetSummary {
  readonly signature: Uint32Array;
  readonly sketch: Uint32Array;
}

/** Finds similar sets by locality-sensitive hashing: only sets whose signatures have a band in common are compared. */
export interface SimilarityIndex {
  /** Returns a set with at least the threshold similarity, or null. Later sets are found first. */
  find(set: SetSummary): { readonly entry: number; readonly similarity: number } | null;
  /** Adds a set and returns its number, from 0. */
  add(set: SetSummary): number;
}

/** Returns one key per band. */
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
 * The most sets that a search compares, the latest first. If thousands of sets are moderately similar (texts from one
 * template), they share bands, and comparing all pairs would take quadratic time.
 */
const MOST_COMPARED = 200;
/** The most sets whose signatures a search checks; a check costs a hundredth of a comparison. */
const MOST_CHECKED = 2000;

/** Values per signature of which the lowest byte is kept. */
const KEPT_BYTES = 64;
const ENTRY_WORDS = KEPT_BYTES / 4;
const ENTRIES_A_PAGE = 1 << 12;

/** Returns a word with 0x80 in every byte that is zero in the input. */
const zeroBytes = (word: number): number => ~(((word & 0x7f7f7f7f) + 0x7f7f7f7f) | word | 0x7f7f7f7f);

/**
 * The lowest bytes of the first values of every signature, to exclude dissimilar sets without reading their sketches.
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

  /** Returns whether at least `least` bytes of an entry are equal. */
  agrees(packed: Int32Array, entry: number, least: number): boolean {
    const page = this.pages[Math.floor(entry / ENTRIES_A_PAGE)] as Int32Array;
    const start = (entry % ENTRIES_A_PAGE) * ENTRY_WORDS;
    let agree = 0;
    for (let index = 0; index < ENTRY_WORDS; index++) {
      const equal = zeroBytes((packed[index] as number) ^ (page[start + index] as number));
      // One bit per byte; the multiplication sums them in the highest byte.
      agree += Math.imul(equal >>> 7, 0x01010101) >>> 24;
    }
    return agree >= least;
  }
}

/** Bits of a {@link HashFilter}: 512 kB. */
const FILTER_BITS = 1 << 22;

/**
 * The hashes of all sketches, by the sizes of the sketches that they can be similar to. If two sets have a similarity
 * t, the smaller one has at least the share t of the size of the larger one, and each has at least this share of its
 * members in common with the other. Most sets that are similar to none are excluded by that, without their signature.
 * Like a Bloom filter, it excludes no other set.
 */
class HashFilter {
  private readonly bits = new Int32Array(FILTER_BITS / 32);
  private readonly threshold: number;

  constructor(threshold: number) {
    this.threshold = threshold;
  }

  add(sketch: Uint32Array): void {
    const [least, most] = [Math.floor(sketch.length * this.threshold), Math.ceil(sketch.length / this.threshold)];
    for (let size = this.classOf(Math.max(1, least)); size <= this.classOf(most); size++) {
      const key = HashFilter.keyOf(size);
      for (let index = 0; index < sketch.length; index++) {
        const bit = ((sketch[index] as number) ^ key) & (FILTER_BITS - 1);
        this.bits[bit >>> 5] = (this.bits[bit >>> 5] as number) | (1 << (bit & 31));
      }
    }
  }

  /** Returns whether a sketch can have enough hashes in common with one that was added. */
  mayFind(sketch: Uint32Array): boolean {
    const key = HashFilter.keyOf(this.classOf(sketch.length));
    const mostMissing = sketch.length * (1 - this.threshold);
    let missing = 0;
    for (let index = 0; index < sketch.length; index++) {
      const bit = ((sketch[index] as number) ^ key) & (FILTER_BITS - 1);
      if (((this.bits[bit >>> 5] as number) & (1 << (bit & 31))) === 0 && ++missing > mostMissing) return false;
    }
    return true;
  }

  /** Returns the class of a size: there are two in the range from the threshold to 1. */
  private classOf(size: number): number {
    return Math.floor((2 * Math.log(size)) / -Math.log(Math.min(this.threshold, 0.99)));
  }

  private static keyOf(sizeClass: number): number {
    return Math.imul(sizeClass + 1, 0x9e3779b1);
  }
}

/**
 * Creates an index that uses about 500 bytes per set, and up to 1 kB for its sketch, in memory or a temporary file.
 *
 * @param isFiltered whether searches are faster and additions slower: for searches of sets that are not added, too
 */
export function createSimilarityIndex(threshold: number, isFiltered = false): SimilarityIndex {
  const sketches = createSketchStore();
  const rows = rowsOfBand(threshold);
  const table = new BandTable(SIGNATURE_VALUES / rows);
  const signatures = new SignatureBytes();
  const filter = isFiltered ? new HashFilter(threshold) : null;
  // The share of equal bytes estimates the similarity with a standard error of 0.06. Sets that are 2.5 standard errors
  // below the threshold are not compared.
  const leastAgreement = Math.floor(KEPT_BYTES * (threshold - 0.15));
  // The last search that compared each entry, so that no search compares an entry twice.
  const seenBy = new GrowingInts();
  let finds = 0;
  let latest: { signature: Uint32Array; keys: Uint32Array; packed: Int32Array } | null = null;
  const prepared = (signature: Uint32Array) => {
    if (latest?.signature !== signature)
      latest = { signature, keys: bandKeys(signature, rows), packed: SignatureBytes.pack(signature) };
    return latest;
  };

  return {
    find(set) {
      const { sketch } = set;
      if (filter?.mayFind(sketch) === false) return null;
      const { keys, packed } = prepared(set.signature);
      let found: { entry: number; similarity: number } | null = null;
      let compared = 0;
      let checked = 0;
      finds++;
      const shouldContinue = (): boolean => found === null && compared < MOST_COMPARED && checked < MOST_CHECKED;
      for (let band = 0; band < keys.length && shouldContinue(); band++) {
        table.visit(keys[band] as number, (entry) => {
          checked++;
          if (!signatures.agrees(packed, entry, leastAgreement) || seenBy.at(entry) === finds) return shouldContinue();
          seenBy.set(entry, finds);
          compared++;
          const similarity = sketchSimilarity(sketch, sketches.read(entry), threshold);
          if (similarity >= threshold) found = { entry, similarity };
          return shouldContinue();
        });
      }
      return found;
    },
    add({ signature, sketch }) {
      const { keys, packed } = prepared(signature);
      table.add(keys);
      signatures.add(packed);
      sketches.add(sketch);
      filter?.add(sketch);
      seenBy.push(0);
      return seenBy.length - 1;
    },
  };
}
