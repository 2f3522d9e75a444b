import { FNV_OFFSET, fnv1aStep } from '@whetstone/core/util';

/** Values of a signature, which finds candidates; a sketch then says how alike they are. */
export const SIGNATURE_VALUES = 192;
/** Hashes of a sketch: texts with fewer shingles are compared exactly. */
export const SKETCH_HASHES = 256;

const ideographs = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Hangul}]/gu;

/**
 * Characters of a shingle: `size`; half as many in Chinese, Japanese and Korean, where a character says more; one less
 * in short texts.
 */
function shingleLength(text: string, size: number): number {
  if ((text.match(ideographs)?.length ?? 0) * 2 > text.length) return Math.max(1, Math.round(size / 2));
  return text.length < 8 * size ? Math.max(2, size - 1) : size;
}

/** The distinct hashes of the shingles of a text (every stretch of some characters), ascending. */
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
 * A signature of a set: two sets have each of its values in common with a probability of their Jaccard similarity, as
 * with MinHash (Broder, "On the resemblance and containment of documents", 1997), at a cost of some v·ln v + n steps
 * for v values and n members instead of v·n (Dahlgaard, Knudsen and Thorup, "Fast Similarity Sketching", 2017). In
 * every round each member falls into the place of one value, until every place is filled; a place keeps its smallest
 * member of the round that filled it.
 *
 * @param hashes the members: distinct, mixed hashes, at least one
 */
export function minHashSignature(hashes: Uint32Array): Uint32Array {
  const signature = new Uint32Array(SIGNATURE_VALUES);
  const filledIn = new Uint16Array(SIGNATURE_VALUES);
  let empty = SIGNATURE_VALUES;
  for (let round = 1; empty > 0; round++) {
    const seed = Math.imul(round, 0x9e3779b1);
    // Small sets would take long to hit every place by chance: after so many rounds all members fall into one place
    // after the other.
    const place = round - SIGNATURE_VALUES - 1;
    for (let index = 0; index < hashes.length; index++) {
      let value = Math.imul((hashes[index] as number) ^ seed, 0x85ebca6b);
      value = Math.imul(value ^ (value >>> 15), 0xc2b2ae35);
      value = (value ^ (value >>> 16)) >>> 0;
      const at = place >= 0 ? place : ((value >>> 16) * SIGNATURE_VALUES) >>> 16;
      if (filledIn[at] === 0) {
        filledIn[at] = round;
        signature[at] = value;
        empty--;
      } else if (filledIn[at] === round && value < (signature[at] as number)) {
        signature[at] = value;
      }
    }
  }
  return signature;
}

/** The smallest hashes of a set: all of it, where it is small. */
export const sketchOf = (hashes: Uint32Array): Uint32Array => hashes.slice(0, SKETCH_HASHES);

/**
 * Jaccard similarity of two sets from their sketches: the share of the smallest hashes of the union that are in both
 * (bottom-k sketches, Cohen and Kaplan 2007). Exact where both sketches hold their whole set.
 *
 * @param atLeast gives 0 as soon as it is plain that the similarity is below this: most pairs are done after a few
 *   hashes
 */
export function sketchSimilarity(a: Uint32Array, b: Uint32Array, atLeast = 0): number {
  const complete = a.length < SKETCH_HASHES && b.length < SKETCH_HASHES;
  const most = complete ? a.length + b.length : SKETCH_HASHES;
  // Of n hashes in the union, at least atLeast · n must be in both. With whole sets, the union is at most (|a| + |b|) /
  // (1 + atLeast) then.
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

/** The most rows of a band under which two texts at the threshold still share a band in 98 of 100 cases. */
export function rowsOfBand(threshold: number): number {
  return (
    [24, 16, 12, 8, 6, 4, 3, 2].find((rows) => 1 - (1 - threshold ** rows) ** (SIGNATURE_VALUES / rows) >= 0.98) ?? 1
  );
}
