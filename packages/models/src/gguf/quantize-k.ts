/**
 * Quantises to ggml's K types: 256 numbers share one or two scales in half precision, by which the scales (and minima)
 * of their sub-blocks are stored as small integers. Scales are fitted by a search for the least weighted error, with
 * the weights and steps of ggml's reference.
 */
import { narrow, widen } from '@whetstone/core/safetensors';

const kTypes = ['Q4_K', 'Q5_K', 'Q6_K'] as const;
export type QuantizedKType = (typeof kTypes)[number];

/** Returns whether {@link quantizeKBlocks} supports the type. */
export const isQuantizedKType = (type: string): type is QuantizedKType => (kTypes as readonly string[]).includes(type);

const SUPER_BLOCK = 256;

/** 1.5 · 2^52: numbers of this size have no fraction. */
const ROUNDING = 6755399441055744;

/** Rounds halves to even, as the processor does. For magnitudes below 2^51. */
const nearest = (value: number): number => value + ROUNDING - ROUNDING;

const clamped = (value: number, least: number, most: number): number =>
  value < least ? least : value > most ? most : value;

/** Writes a number in half precision, and returns the number that was written. */
function writeHalf(value: number, out: Uint8Array, at: number): number {
  const bytes = narrow(Float32Array.of(value), 'F16');
  out.set(bytes, at);
  return widen(bytes, 'F16')[0] ?? 0;
}

/** The scale and the minimum of a sub-block: a number is `scale · level - offset`. */
interface Affine {
  readonly scale: number;
  readonly offset: number;
}

/** How far a search goes beyond the range of the numbers, in levels: `from`, `from + 0.1`, … in so many steps. */
interface Search {
  readonly from: number;
  readonly steps: number;
}

/**
 * Fits levels from 0 to `most`: for several scales it rounds the numbers, and solves for the scale and the minimum with
 * the least weighted squares at these levels. Minima are not positive. Returns the best fit.
 */
function fitAffine(x: Float32Array, weights: Float32Array, most: number, { from, steps }: Search): Affine {
  let least = Math.min(0, x[0] ?? 0);
  let greatest = x[0] ?? 0;
  let [weight, weighted] = [0, 0];
  for (let i = 0; i < x.length; i++) {
    const value = x[i] ?? 0;
    least = Math.min(least, value);
    greatest = Math.max(greatest, value);
    weight += weights[i] ?? 0;
    weighted += (weights[i] ?? 0) * value;
  }
  if (greatest === least) return { scale: 0, offset: -least };
  const range = greatest - least;
  const levels = new Float64Array(x.length);
  const roundAt = (inverse: number): void => {
    for (let i = 0; i < x.length; i++) levels[i] = clamped(nearest(inverse * ((x[i] ?? 0) - least)), 0, most);
  };
  const errorAt = (scale: number, minimum: number): number => {
    let error = 0;
    for (let i = 0; i < x.length; i++) {
      const value = x[i] ?? 0;
      const difference = scale * (levels[i] ?? 0) + minimum - value;
      error += (weights[i] ?? 0) * difference * difference;
    }
    return error;
  };
  let best = { scale: range / most, minimum: least };
  roundAt(most / range);
  let bestError = errorAt(best.scale, best.minimum);
  for (let step = 0; step <= steps; step++) {
    roundAt((from + 0.1 * step + most) / range);
    let [sum, squares, products] = [0, 0, 0];
    for (let i = 0; i < x.length; i++) {
      const value = x[i] ?? 0;
      const level = levels[i] ?? 0;
      const share = (weights[i] ?? 0) * level;
      sum += share;
      squares += share * level;
      products += share * value;
    }
    const determinant = weight * squares - sum * sum;
    if (determinant <= 0) continue;
    let scale = (weight * products - weighted * sum) / determinant;
    let minimum = (squares * weighted - sum * products) / determinant;
    if (minimum > 0) [scale, minimum] = [products / squares, 0];
    const error = errorAt(scale, minimum);
    if (error < bestError) [best, bestError] = [{ scale, minimum }, error];
  }
  return { scale: best.scale, offset: -best.minimum };
}

/**
 * Fits levels from `-half` to `half - 1` without a minimum, weighted by the squares of the numbers. Returns the scale,
 * which may be negative.
 */
function fitScale(x: Float32Array, half: number): number {
  let extreme = 0;
  for (const value of x) if (Math.abs(value) > Math.abs(extreme)) extreme = value;
  if (Math.abs(extreme) < TINY) return 0;
  let best = { scale: 0, quality: 0 };
  for (const step of [0, -9, -8, -7, -6, -5, -4, -3, -2, -1, 1, 2, 3, 4, 5, 6, 7, 8, 9]) {
    const inverse = -(half + 0.1 * step) / extreme;
    let [products, squares] = [0, 0];
    for (const value of x) {
      const level = clamped(nearest(inverse * value), -half, half - 1);
      products += value * value * value * level;
      squares += value * value * level * level;
    }
    if (squares > 0 && products * products > best.quality * squares)
      best = { scale: products / squares, quality: (products * products) / squares };
  }
  return best.scale;
}

/** A block whose numbers are all smaller is stored as zeros. */
const TINY = 1e-15;

/** What differs between Q4_K and Q5_K. */
interface AffineFormat {
  readonly size: number;
  readonly most: number;
  readonly search: Search;
  /** The offset of the nibbles; the fifth bits are between them and the scales. */
  readonly nibbles: number;
}

const q4: AffineFormat = { size: 144, most: 15, search: { from: -1, steps: 20 }, nibbles: 16 };
const q5: AffineFormat = { size: 176, most: 31, search: { from: -0.5, steps: 15 }, nibbles: 48 };

const SUB_BLOCK = 32;
/** The largest six-bit scale and minimum of a sub-block. */
const MOST_SCALE = 63;

function writeAffine(format: AffineFormat, x: Float32Array, out: Uint8Array, at: number): void {
  const { most, search, nibbles } = format;
  const subBlocks = Array.from({ length: SUPER_BLOCK / SUB_BLOCK }, (_, sub) => {
    const values = x.subarray(sub * SUB_BLOCK, (sub + 1) * SUB_BLOCK);
    const mean = Math.sqrt(values.reduce((total, value) => total + value * value, 0) / SUB_BLOCK);
    const weights = values.map((value) => mean + Math.abs(value));
    return { values, weights, fit: fitAffine(values, weights, most, search) };
  });
  const scaleUnit = writeHalf(Math.max(0, ...subBlocks.map(({ fit }) => fit.scale)) / MOST_SCALE, out, at);
  const offsetUnit = writeHalf(Math.max(0, ...subBlocks.map(({ fit }) => fit.offset)) / MOST_SCALE, out, at + 2);
  for (const [sub, { values, weights, fit }] of subBlocks.entries()) {
    const stored = roundFit(fit, scaleUnit, offsetUnit, (rounded) => errorOf(values, weights, rounded, most));
    writeSixBits(out, at + 4, sub, stored.scaleLevel, stored.offsetLevel);
    for (let i = 0; i < values.length; i++) {
      const value = values[i] ?? 0;
      const level = levelOf(value, stored, most);
      out[at + nibbles + (sub >> 1) * SUB_BLOCK + i]! |= (level & 15) << ((sub & 1) * 4);
      if (level > 15) out[at + 16 + i]! |= 1 << sub;
    }
  }
}

/** A fit as it is stored: multiples of the two units of its super-block. */
interface StoredFit extends Affine {
  readonly scaleLevel: number;
  readonly offsetLevel: number;
}

const levelOf = (value: number, { scale, offset }: Affine, most: number): number =>
  scale === 0 ? 0 : clamped(nearest((value + offset) / scale), 0, most);

/** Returns the weighted squared error of a sub-block. */
function errorOf(values: Float32Array, weights: Float32Array, fit: Affine, most: number): number {
  let error = 0;
  for (let i = 0; i < values.length; i++) {
    const value = values[i] ?? 0;
    const difference = fit.scale * levelOf(value, fit, most) - fit.offset - value;
    error += (weights[i] ?? 0) * difference * difference;
  }
  return error;
}

/** Rounds a fit to multiples of the units: of the multiples next to it, those with the least error. */
function roundFit(
  { scale, offset }: Affine,
  scaleUnit: number,
  offsetUnit: number,
  errorOfFit: (fit: Affine) => number,
): StoredFit {
  const near = (value: number, unit: number): readonly number[] => {
    const level = unit === 0 ? 0 : nearest(value / unit);
    return unit === 0 ? [0] : [level, level - 1, level + 1].filter((each) => each >= 0 && each <= MOST_SCALE);
  };
  let best: StoredFit = { scale: 0, offset: 0, scaleLevel: 0, offsetLevel: 0 };
  let least = Infinity;
  for (const scaleLevel of near(scale, scaleUnit))
    for (const offsetLevel of near(offset, offsetUnit)) {
      const fit = { scale: scaleUnit * scaleLevel, offset: offsetUnit * offsetLevel, scaleLevel, offsetLevel };
      const error = errorOfFit(fit);
      if (error < least) [best, least] = [fit, error];
    }
  return best;
}

/** Packs a scale and a minimum into twelve bytes: the last four of each fill the upper bits of the first four. */
function writeSixBits(out: Uint8Array, at: number, sub: number, scale: number, minimum: number): void {
  if (sub < 4) {
    out[at + sub]! |= scale;
    out[at + 4 + sub]! |= minimum;
    return;
  }
  out[at + 4 + sub]! |= (scale & 15) | ((minimum & 15) << 4);
  out[at + sub - 4]! |= (scale >> 4) << 6;
  out[at + sub]! |= (minimum >> 4) << 6;
}

const Q6_SUB_BLOCK = 16;

function writeQ6(x: Float32Array, out: Uint8Array, at: number): void {
  const scales = Array.from({ length: SUPER_BLOCK / Q6_SUB_BLOCK }, (_, sub) =>
    fitScale(x.subarray(sub * Q6_SUB_BLOCK, (sub + 1) * Q6_SUB_BLOCK), 32),
  );
  const extreme = scales.reduce((found, scale) => (Math.abs(scale) > Math.abs(found) ? scale : found), 0);
  if (Math.abs(extreme) < TINY) return;
  const inverse = -128 / extreme;
  const scale = writeHalf(1 / inverse, out, at + 208);
  for (const [sub, fitted] of scales.entries()) {
    const scaleLevel = Math.min(127, nearest(inverse * fitted));
    out[at + 192 + sub] = scaleLevel;
    const step = scale * scaleLevel;
    for (let j = 0; j < Q6_SUB_BLOCK; j++) {
      const i = sub * Q6_SUB_BLOCK + j;
      // Numbers of a step of zero are zero whatever their level; ggml keeps that of the search.
      const level = step === 0 ? 32 : clamped(nearest((x[i] ?? 0) / step), -32, 31) + 32;
      const run = (i >> 5) & 3;
      out[at + (i >> 7) * 64 + (run & 1) * 32 + (i & 31)]! |= (level & 15) << (run < 2 ? 0 : 4);
      out[at + 128 + (i >> 7) * 32 + (i & 31)]! |= (level >> 4) << (run * 2);
    }
  }
}

const blocks: Readonly<
  Record<
    QuantizedKType,
    { readonly size: number; readonly write: (x: Float32Array, out: Uint8Array, at: number) => void }
  >
> = {
  Q4_K: { size: q4.size, write: (x, out, at) => writeAffine(q4, x, out, at) },
  Q5_K: { size: q5.size, write: (x, out, at) => writeAffine(q5, x, out, at) },
  Q6_K: { size: 210, write: writeQ6 },
};

/** Quantises numbers, whose count is a multiple of 256. */
export function quantizeKBlocks(type: QuantizedKType, values: Float32Array): Uint8Array {
  const { size, write } = blocks[type];
  const count = values.length / SUPER_BLOCK;
  const out = new Uint8Array(count * size);
  for (let block = 0; block < count; block++)
    write(values.subarray(block * SUPER_BLOCK, (block + 1) * SUPER_BLOCK), out, block * size);
  return out;
}
