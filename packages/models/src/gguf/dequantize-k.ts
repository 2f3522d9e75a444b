/**
 * Dequantises ggml's K types. A super-block of 256 numbers has one half-precision scale; its sub-blocks have small
 * integer scales. Within a super-block, runs of 32 numbers share bytes: each run uses other bits of the same bytes.
 */
import { half } from './half.js';

type KBlock = (bytes: Uint8Array, at: number, out: Float32Array, to: number) => void;

const at8 = (bytes: Uint8Array, at: number): number => bytes[at] ?? 0;
const halfAt = (bytes: Uint8Array, at: number): number => half(at8(bytes, at) | (at8(bytes, at + 1) << 8));
const int8 = (byte: number): number => (byte << 24) >> 24;

/**
 * Q2_K: 16 sub-blocks of 16, two bits per number. A scale byte has the scale in its low nibble, the minimum in its
 * high.
 */
const q2: KBlock = (bytes, at, out, to) => {
  const d = halfAt(bytes, at + 80);
  const minimum = halfAt(bytes, at + 82);
  for (let i = 0; i < 256; i++) {
    const scale = at8(bytes, at + (i >> 4));
    const quant = (at8(bytes, at + 16 + (i >> 7) * 32 + (i & 31)) >> (((i >> 5) & 3) * 2)) & 3;
    out[to + i] = d * (scale & 15) * quant - minimum * (scale >> 4);
  }
};

/**
 * Q3_K: 16 sub-blocks of 16 with signed six-bit scales. The third bit of a number is stored separately and inverted.
 */
const q3: KBlock = (bytes, at, out, to) => {
  const d = halfAt(bytes, at + 108);
  for (let i = 0; i < 256; i++) {
    const sub = i >> 4;
    const low = at8(bytes, at + 96 + (sub & 7)) >> (sub < 8 ? 0 : 4);
    const high = at8(bytes, at + 104 + (sub & 3)) >> ((sub >> 2) * 2);
    const scale = ((low & 15) | ((high & 3) << 4)) - 32;
    const quant = (at8(bytes, at + 32 + (i >> 7) * 32 + (i & 31)) >> (((i >> 5) & 3) * 2)) & 3;
    const present = (at8(bytes, at + (i & 31)) >> (i >> 5)) & 1;
    out[to + i] = d * scale * (quant - (present === 1 ? 0 : 4));
  }
};

/**
 * Returns a six-bit scale of Q4_K or Q5_K. Twelve bytes contain eight scales and eight minima; the last four of each
 * are split across the upper bits of the first four.
 */
function scaleOf(bytes: Uint8Array, at: number, sub: number): number {
  return sub < 4 ? at8(bytes, at + sub) & 63 : (at8(bytes, at + 4 + sub) & 15) | ((at8(bytes, at + sub - 4) >> 6) << 4);
}
/** Returns a six-bit minimum of Q4_K or Q5_K, packed like the scales. */
function minimumOf(bytes: Uint8Array, at: number, sub: number): number {
  return sub < 4 ? at8(bytes, at + 4 + sub) & 63 : (at8(bytes, at + 4 + sub) >> 4) | ((at8(bytes, at + sub) >> 6) << 4);
}

const q4: KBlock = (bytes, at, out, to) => {
  const d = halfAt(bytes, at);
  const minimum = halfAt(bytes, at + 2);
  for (let sub = 0; sub < 8; sub++) {
    const scale = d * scaleOf(bytes, at + 4, sub);
    const offset = minimum * minimumOf(bytes, at + 4, sub);
    const from = at + 16 + (sub >> 1) * 32;
    const shift = (sub & 1) * 4;
    for (let i = 0; i < 32; i++) out[to + sub * 32 + i] = scale * ((at8(bytes, from + i) >> shift) & 15) - offset;
  }
};

const q5: KBlock = (bytes, at, out, to) => {
  const d = halfAt(bytes, at);
  const minimum = halfAt(bytes, at + 2);
  for (let sub = 0; sub < 8; sub++) {
    const scale = d * scaleOf(bytes, at + 4, sub);
    const offset = minimum * minimumOf(bytes, at + 4, sub);
    const from = at + 48 + (sub >> 1) * 32;
    const shift = (sub & 1) * 4;
    for (let i = 0; i < 32; i++) {
      const fifth = ((at8(bytes, at + 16 + i) >> sub) & 1) << 4;
      out[to + sub * 32 + i] = scale * (((at8(bytes, from + i) >> shift) & 15) | fifth) - offset;
    }
  }
};

/** Q6_K: 16 sub-blocks of 16 with signed eight-bit scales. The two high bits of a number are stored separately. */
const q6: KBlock = (bytes, at, out, to) => {
  const d = halfAt(bytes, at + 208);
  for (let i = 0; i < 256; i++) {
    const half128 = i >> 7;
    const run = (i >> 5) & 3;
    const low = (at8(bytes, at + half128 * 64 + (run & 1) * 32 + (i & 31)) >> (run < 2 ? 0 : 4)) & 15;
    const high = (at8(bytes, at + 128 + half128 * 32 + (i & 31)) >> (run * 2)) & 3;
    out[to + i] = d * int8(at8(bytes, at + 192 + (i >> 4))) * ((low | (high << 4)) - 32);
  }
};

const blocks: Readonly<Record<string, { readonly bytes: number; readonly read: KBlock }>> = {
  Q2_K: { bytes: 84, read: q2 },
  Q3_K: { bytes: 110, read: q3 },
  Q4_K: { bytes: 144, read: q4 },
  Q5_K: { bytes: 176, read: q5 },
  Q6_K: { bytes: 210, read: q6 },
};

/** Returns whether `type` is a K type. */
export function isKType(type: string): boolean {
  return Object.hasOwn(blocks, type);
}

/** Dequantises `bytes` into `out`, whose length is a multiple of 256. */
export function dequantizeKBlocks(type: string, bytes: Uint8Array, out: Float32Array): void {
  const block = blocks[type];
  if (block === undefined) throw new RangeError(`${type} is not a K type`);
  for (let to = 0, at = 0; to < out.length; to += 256, at += block.bytes) block.read(bytes, at, out, to);
}
