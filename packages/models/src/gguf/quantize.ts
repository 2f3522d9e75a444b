/**
 * Quantises float32 numbers to ggml's types, the inverse of `dequantize.ts`. Every intermediate result is rounded to
 * float32, so that the bytes of the types with blocks of 32 are those of ggml's reference and of gguf-py.
 */
import { narrow } from '@whetstone/core/safetensors';
import { isQuantizedKType, quantizeKBlocks, type QuantizedKType } from './quantize-k.js';

const simpleTypes = ['Q4_0', 'Q4_1', 'Q5_0', 'Q5_1', 'Q8_0'] as const;
type SimpleType = (typeof simpleTypes)[number];

/** A type in which {@link quantize} writes numbers. */
export type QuantizedType = 'F32' | 'F16' | 'BF16' | SimpleType | QuantizedKType;

const { fround } = Math;

/** Numbers in a block of the simple types. */
const BLOCK = 32;

/** The level of each number of a block, with what turns levels into numbers again. */
interface Levels {
  /** Rounded to half precision when it is written. */
  readonly scale: number;
  /** Null for types whose blocks have no minimum. */
  readonly minimum: number | null;
}

type Fit = (values: Float32Array, from: number, levels: Uint8Array) => Levels;

const inverseOf = (scale: number): number => (scale === 0 ? 0 : fround(1 / scale));

/** Levels around zero: the number of the largest magnitude gets the lowest level, `-half`. */
const signed =
  (half: number): Fit =>
  (values, from, levels) => {
    let extreme = 0;
    for (let i = 0; i < BLOCK; i++) {
      const value = values[from + i] ?? 0;
      if (Math.abs(value) > Math.abs(extreme)) extreme = value;
    }
    const scale = fround(extreme / -half);
    const inverse = inverseOf(scale);
    for (let i = 0; i < BLOCK; i++) {
      const level = fround(fround((values[from + i] ?? 0) * inverse) + half + 0.5);
      levels[i] = Math.min(2 * half - 1, Math.trunc(level));
    }
    return { scale, minimum: null };
  };

/** Levels from the minimum of a block to its maximum. */
const ranged =
  (most: number): Fit =>
  (values, from, levels) => {
    let minimum = Infinity;
    let maximum = -Infinity;
    for (let i = 0; i < BLOCK; i++) {
      const value = values[from + i] ?? 0;
      if (value < minimum) minimum = value;
      if (value > maximum) maximum = value;
    }
    const scale = fround(fround(maximum - minimum) / most);
    const inverse = inverseOf(scale);
    for (let i = 0; i < BLOCK; i++) {
      const level = fround(fround(fround((values[from + i] ?? 0) - minimum) * inverse) + 0.5);
      levels[i] = Math.min(most, Math.trunc(level));
    }
    return { scale, minimum };
  };

/** Signed bytes; halves are rounded away from zero. */
const bytes: Fit = (values, from, levels) => {
  let largest = 0;
  for (let i = 0; i < BLOCK; i++) largest = Math.max(largest, Math.abs(values[from + i] ?? 0));
  const scale = fround(largest / 127);
  const inverse = inverseOf(scale);
  for (let i = 0; i < BLOCK; i++) {
    const level = fround((values[from + i] ?? 0) * inverse);
    levels[i] = Math.sign(level) * Math.floor(Math.abs(level) + 0.5);
  }
  return { scale, minimum: null };
};

interface SimpleFormat {
  readonly fit: Fit;
  /** Bytes of a block. */
  readonly size: number;
  readonly bits: 4 | 5 | 8;
}

const formats: Readonly<Record<SimpleType, SimpleFormat>> = {
  Q4_0: { fit: signed(8), size: 18, bits: 4 },
  Q4_1: { fit: ranged(15), size: 20, bits: 4 },
  Q5_0: { fit: signed(16), size: 22, bits: 5 },
  Q5_1: { fit: ranged(31), size: 24, bits: 5 },
  Q8_0: { fit: bytes, size: 34, bits: 8 },
};

/** Writes the levels of a block: nibbles of number i and i + 16 share a byte, after the fifth bits of all. */
function writeLevels(levels: Uint8Array, bits: SimpleFormat['bits'], out: Uint8Array, at: number): void {
  if (bits === 8) {
    out.set(levels, at);
    return;
  }
  const nibbles = bits === 5 ? at + 4 : at;
  for (let i = 0; i < BLOCK / 2; i++)
    out[nibbles + i] = ((levels[i] ?? 0) & 15) | (((levels[i + BLOCK / 2] ?? 0) & 15) << 4);
  if (bits === 5) for (let i = 0; i < BLOCK; i++) out[at + (i >> 3)]! |= ((levels[i] ?? 0) >> 4) << (i & 7);
}

function quantizeSimple({ fit, size, bits }: SimpleFormat, values: Float32Array): Uint8Array {
  const blocks = values.length / BLOCK;
  const out = new Uint8Array(blocks * size);
  const scales = new Float32Array(blocks);
  const minima = new Float32Array(blocks);
  const levels = new Uint8Array(BLOCK);
  let hasMinimum = false;
  for (let block = 0; block < blocks; block++) {
    const { scale, minimum } = fit(values, block * BLOCK, levels);
    scales[block] = scale;
    minima[block] = minimum ?? 0;
    hasMinimum = minimum !== null;
    writeLevels(levels, bits, out, block * size + (hasMinimum ? 4 : 2));
  }
  writeHalves(scales, out, size, 0);
  if (hasMinimum) writeHalves(minima, out, size, 2);
  return out;
}

/** Writes a number of each block in half precision, `offset` bytes after its start. */
function writeHalves(numbers: Float32Array, out: Uint8Array, size: number, offset: number): void {
  const halves = narrow(numbers, 'F16');
  for (let block = 0; block < numbers.length; block++)
    out.set(halves.subarray(2 * block, 2 * block + 2), block * size + offset);
}

/** Numbers in a block of a type: rows of a tensor must be a multiple of it. */
export function blockLength(type: QuantizedType): number {
  if (isQuantizedKType(type)) return 256;
  return type in formats ? BLOCK : 1;
}

/** Quantises numbers, whose count is a multiple of {@link blockLength}. */
export function quantize(type: QuantizedType, values: Float32Array): Uint8Array {
  if (type === 'F32' || type === 'F16' || type === 'BF16') return narrow(values, type);
  return isQuantizedKType(type) ? quantizeKBlocks(type, values) : quantizeSimple(formats[type], values);
}
