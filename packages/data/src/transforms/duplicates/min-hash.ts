import { createRandom } from '@whetstone/core/random';

/** Values of a MinHash signature, which finds candidates; a sketch then says how alike they are. */
export const SIGNATURE_VALUES = 64;
/** Hashes of a sketch: texts with fewer shingles are compared exactly. */
export const SKETCH_HASHES = 256;

const random = createRandom(0, 'min-hash');
const multipliers = Uint32Array.from({ length: SIGNATURE_VALUES }, () => random.integer(0x7fffffff) * 2 + 1);
const offsets = Uint32Array.from({ length: SIGNATURE_VALUES }, () => random.integer(0x7fffffff));

const ideographs = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Hangul}]/gu;

/** Characters of a shingle: `size`; half as many in Chinese, Japanese and Korean, where a character says more; one less in short texts. */
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
    let hash = 0x811c9dc5;
    for (let index = start; index < start + length; index++) hash = Math.imul(hash ^ (text.charCodeAt(index) || 0), 0x01000193);
    hash = Math.imul(hash ^ (hash >>> 15), 0x85ebca6b);
    hashes[start] = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  }
  hashes.sort();
  return hashes.filter((hash, index) => index === 0 || hash !== hashes[index - 1]);
}

/** MinHash signature of a set (Broder, "On the resemblance and containment of documents", 1997). */
export function minHashSignature(hashes: Uint32Array): Uint32Array {
  const signature = new Uint32Array(SIGNATURE_VALUES).fill(0xffffffff);
  for (const hash of hashes) {
    for (let index = 0; index < SIGNATURE_VALUES; index++) {
      // Multiply and add modulo 2^32, then mix the high bits down: the minimum looks at all bits alike.
      let value = (Math.imul(hash, multipliers[index] as number) + (offsets[index] as number)) >>> 0;
      value = Math.imul(value ^ (value >>> 16), 0x45d9f3b) >>> 0;
      if (value < (signature[index] as number)) signature[index] = value;
    }
  }
  return signature;
}

/** The smallest hashes of a set: all of it, where it is small. */
export const sketchOf = (hashes: Uint32Array): Uint32Array => hashes.slice(0, SKETCH_HASHES);

/**
 * Jaccard similarity of two sets from their sketches: the share of the smallest hashes of the union that are in both (bottom-k sketches, Cohen and
 * Kaplan 2007). Exact where both sketches hold their whole set.
 *
 * @param atLeast gives 0 as soon as it is plain that the similarity is below this: most pairs are done after a few hashes
 */
export function sketchSimilarity(a: Uint32Array, b: Uint32Array, atLeast = 0): number {
  const complete = a.length < SKETCH_HASHES && b.length < SKETCH_HASHES;
  const most = complete ? a.length + b.length : SKETCH_HASHES;
  // Of n hashes in the union, at least atLeast · n must be in both. With whole sets, the union is at most (|a| + |b|) / (1 + atLeast) then.
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
  return [16, 8, 4, 2].find((rows) => 1 - (1 - threshold ** rows) ** (SIGNATURE_VALUES / rows) >= 0.98) ?? 1;
}
