/** The 4-bit types of bitsandbytes. */
export type FourBitType = 'nf4' | 'fp4';

/**
 * Values of the 16 nibbles, in [−1, 1]. NF4: quantiles of the normal distribution (Dettmers et al. 2023, appendix E).
 * FP4: one sign bit, two exponent bits, one mantissa bit, divided by the largest value.
 */
export const fourBitCodes: Readonly<Record<FourBitType, Float32Array>> = {
  nf4: Float32Array.of(
    -1,
    -0.6961928009986877,
    -0.5250730514526367,
    -0.39491748809814453,
    -0.28444138169288635,
    -0.18477343022823334,
    -0.09105003625154495,
    0,
    0.07958029955625534,
    0.16093020141124725,
    0.24611230194568634,
    0.33791524171829224,
    0.44070982933044434,
    0.5626170039176941,
    0.7229568362236023,
    1,
  ),
  fp4: Float32Array.from([0, 0.0625, 8, 12, 4, 6, 2, 3, -0, -0.0625, -8, -12, -4, -6, -2, -3], (value) => value / 12),
};

/**
 * Maps values to codes: thresholds between the sorted codes, and the nibble of each code. A value on a threshold gets
 * the lower code.
 */
export interface DecisionTable {
  /** Midpoints between adjacent codes, ascending. */
  readonly thresholds: Float32Array;
  /** Nibble of each interval; there is one more than thresholds. */
  readonly nibbles: Uint8Array;
  /**
   * The interval in which each of {@link BUCKETS} equal ranges of [−1, 1] begins. The search for a value starts there.
   */
  readonly starts: Uint8Array;
}

export const BUCKETS = 512;
const bucketOf = (value: number): number => Math.floor((value + 1) * (BUCKETS / 2));

/** Computes the table of a code; thresholds are rounded to float32 as in bitsandbytes. */
export function decisionTable(code: Float32Array): DecisionTable {
  const order = Array.from(code, (_, index) => index).sort(
    (one, other) => (code[one] ?? 0) - (code[other] ?? 0) || one - other,
  );
  const thresholds = Float32Array.from(
    { length: code.length - 1 },
    (_, index) => Math.fround((code[order[index] ?? 0] ?? 0) + (code[order[index + 1] ?? 0] ?? 0)) / 2,
  );
  const starts = Uint8Array.from(
    { length: BUCKETS + 1 },
    (_, bucket) => thresholds.filter((threshold) => bucketOf(threshold) < bucket).length,
  );
  return { thresholds, nibbles: Uint8Array.from(order), starts };
}

/** Returns the interval of a value in [−1, 1]: the number of thresholds below it. */
export function intervalOf({ thresholds, starts }: DecisionTable, value: number): number {
  let interval = starts[bucketOf(value)] ?? 0;
  while (interval < thresholds.length && (thresholds[interval] ?? 0) < value) interval++;
  return interval;
}

/** Implements torch.linspace in float32, which computes from both ends towards the middle. */
function linspace(start: number, end: number, count: number): Float32Array {
  const step = Math.fround(Math.fround(Math.fround(end) - Math.fround(start)) / (count - 1));
  return Float32Array.from({ length: count }, (_, index) =>
    index < count / 2 ? Math.fround(start) + step * index : Math.fround(end) - step * (count - 1 - index),
  );
}

/**
 * Returns the signed 8-bit dynamic code with which block maxima are quantised: 256 ascending values in [−1, 1]. A
 * shorter exponent leaves more bits for the fraction (Dettmers 2015).
 */
export function dynamicCode(): Float32Array {
  const exponents = 7;
  const values = [0, 1];
  for (let exponent = 0; exponent < exponents; exponent++) {
    const bounds = linspace(0.1, 1, 2 ** exponent + 1);
    for (let index = 0; index + 1 < bounds.length; index++) {
      const mean = Math.fround(Math.fround((bounds[index] ?? 0) + (bounds[index + 1] ?? 0)) / 2);
      const value = Math.fround(Math.fround(10 ** (exponent - exponents + 1)) * mean);
      values.push(value, -value);
    }
  }
  return Float32Array.from(values).sort();
}
