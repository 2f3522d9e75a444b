import { FNV_OFFSET, fnv1aStep } from '@whetstone/core/util';
import { ideographsIn } from './fingerprint.js';

/** Values per signature. Signatures find candidates, whose similarity is computed from sketches. */
export const SIGNATURE_VALUES = 192;
/** Hashes per sketch. Texts with fewer shingles are compared exactly. */
export const SKETCH_HASHES = 256;

/**
 * Returns the characters per shingle: `size`, half of it for Chinese, Japanese and Korean, one less for short texts.
 */
function shingleLength(text: string, size: number): number {
  if (ideographsIn(text) * 2 > text.length) return Math.max(1, Math.round(size / 2));
  return text.length < 8 * size ? Math.max(2, size - 1) : size;
}

/** Returns the distinct hashes of the shingles (substrings of fixed length) of a text, ascending. */
export function shingleHashes(text: string, size = 4): Uint32Array {
  const length = shingleLength(text, size);
  const count = Math.max(1, text.length - length + 1);
  const hashes = new Uint32Array(count);
  for (let start = 0; start < count; start++) {
    let hash = FNV_OFFSET;
    for (let index = start; index < start + length; index++) hash = fnv1aStep(hash, text.charCodeAt(index) || 0);
    hash = Math.imul(hash ^ (hash >>> 15), 0x85ebca6b);
    hashes[start] = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  }
  hashes.sort();
  let distinct = 1;
  for (let index = 1; index < count; index++)
    if (hashes[index] !== hashes[index - 1]) hashes[distinct++] = hashes[index] as number;
  return hashes.slice(0, distinct);
}

/**
 * Returns the signature of a set. The probability that two sets have the same value at an index is their Jaccard
 * similarity, as with MinHash (Broder, "On the resemblance and containment of documents", 1997). The cost is about
 * v·ln v + n steps for v values and n members, compared with v·n for MinHash (Dahlgaard, Knudsen and Thorup, "Fast
 * Similarity Sketching", 2017). In each round every member is hashed to one slot, until all slots are filled. A slot
 * keeps the smallest value of the round in which it was filled.
 *
 * @param hashes the members: distinct, mixed hashes, at least one
 */
export function minHashSignature(hashes: Uint32Array): Uint32Array {
  const signature = new Uint32Array(SIGNATURE_VALUES);
  const filledInRound = new Uint16Array(SIGNATURE_VALUES);
  let empty = SIGNATURE_VALUES;
  for (let round = 1; empty > 0; round++) {
    const seed = Math.imul(round, 0x9e3779b1);
    // Small sets would need many rounds to fill all slots: after this many rounds, each round fills one slot.
    const slot = round - SIGNATURE_VALUES - 1;
    for (let index = 0; index < hashes.length; index++) {
      let value = Math.imul((hashes[index] as number) ^ seed, 0x85ebca6b);
      value = Math.imul(value ^ (value >>> 15), 0xc2b2ae35);
      value = (value ^ (value >>> 16)) >>> 0;
      const at = slot >= 0 ? slot : ((value >>> 16) * SIGNATURE_VALUES) >>> 16;
      if (filledInRound[at] === 0) {
        filledInRound[at] = round;
        signature[at] = value;
        empty--;
      } else if (filledInRound[at] === round && value < (signature[at] as number)) {
        signature[at] = value;
      }
    }
  }
  return signature;
}

/** Returns the smallest hashes of a set; all of them if the set is small. */
export const sketchOf = (hashes: Uint32Array): Uint32Array => hashes.slice(0, SKETCH_HASHES);

/**
 * Returns the Jaccard similarity of two sets from their sketches: the share of the smallest hashes of the union that
 * are in both (bottom-k sketches, Cohen and Kaplan, 2007). It is exact if both sketches contain the complete set.
 *
 * @param atLeast returns 0 as soon as the similarity is known to be below this value
 */
export function sketchSimilarity(a: Uint32Array, b: Uint32Array, atLeast = 0): number {
  const complete = a.length < SKETCH_HASHES && b.length < SKETCH_HASHES;
  const most = complete ? a.length + b.length : SKETCH_HASHES;
  // At least atLeast · n of n hashes in the union must be in both. For complete sets the union then has at most
  // (|a| + |b|) / (1 + atLeast) hashes.
  const mostInOne = (1 - atLeast) * (complete ? most / (1 + atLeast) : most);
  let inBoth = 0;
  let inUnion = 0;
  for (let i = 0, j = 0; inUnion < most && (i < a.length || j < b.length); inUnion++) {
    const left = i < a.length ? (a[i] as number) : Infinity;
    const right = j < b.length ? (b[j] as number) : Infinity;
    if (left === right) inBoth++;
    else if (inUnion - inBoth >= mostInOne) return 0;
    if (left <= right) i++;
    if (right <= left) j++;
  }
  return inUnion === 0 ? 1 : inBoth / inUnion;
}

/** Returns the most rows per band for which two texts at the threshold share a band with a probability of 98 %. */
export function rowsOfBand(threshold: number): number {
  return (
    [24, 16, 12, 8, 6, 4, 3, 2].find((rows) => 1 - (1 - threshold ** rows) ** (SIGNATURE_VALUES / rows) >= 0.98) ?? 1
  );
}
