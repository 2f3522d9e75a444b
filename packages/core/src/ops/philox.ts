/**
 * Constants of Philox 4×32 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3", table 2 and section
 * 4.3).
 */
export const philox = { multipliers: [0xd2511f53, 0xcd9e8d57], weyl: [0x9e3779b9, 0xbb67ae85], rounds: 10 } as const;

/** The key with which TensorFlow's stateless operations derive a key and a counter from a seed. */
export const scrambleKey = [0x3ec8f720, 0x02461e29] as const;

/** Returns the upper 32 bits of the product of two 32-bit numbers. */
function upperProduct(a: number, b: number): number {
  const [aLow, aHigh, bLow, bHigh] = [a & 0xffff, a >>> 16, b & 0xffff, b >>> 16];
  const low = aLow * bLow;
  const [first, second] = [aHigh * bLow, aLow * bHigh];
  const middle = (low >>> 16) + (first & 0xffff) + (second & 0xffff);
  return (aHigh * bHigh + (first >>> 16) + (second >>> 16) + (middle >>> 16)) | 0;
}

/**
 * Computes one block of four 32-bit numbers from the counter in `words` and a key. Overwrites `words` with the result.
 */
export function philoxBlock(words: Int32Array, key0: number, key1: number): void {
  const [multiplier0, multiplier1] = philox.multipliers;
  for (let round = 0; round < philox.rounds; round++) {
    const [counter0 = 0, counter1 = 0, counter2 = 0, counter3 = 0] = words;
    words[0] = upperProduct(multiplier1, counter2) ^ counter1 ^ key0;
    words[1] = Math.imul(multiplier1, counter2);
    words[2] = upperProduct(multiplier0, counter0) ^ counter3 ^ key1;
    words[3] = Math.imul(multiplier0, counter0);
    key0 = (key0 + philox.weyl[0]) | 0;
    key1 = (key1 + philox.weyl[1]) | 0;
  }
}

/**
 * Returns `count` uniform numbers in [0, 1) of 23 random bits each, equal to those of
 * `tf.random.stateless_uniform([count], seed)` in TensorFlow.
 */
export function philoxUniform(count: number, [seed0, seed1]: readonly [number, number]): Float32Array {
  // In TensorFlow, a seed consists of two signed 64-bit numbers.
  const words = Int32Array.of(seed0, seed0 < 0 ? -1 : 0, seed1, seed1 < 0 ? -1 : 0);
  philoxBlock(words, ...scrambleKey);
  const [key0 = 0, key1 = 0, counter2 = 0, counter3 = 0] = Int32Array.from(words);
  const values = new Float32Array(count);
  const bits = new Int32Array(values.buffer);
  for (let start = 0; start < count; start += 4) {
    words.set([start / 4, 0, counter2, counter3]);
    philoxBlock(words, key0, key1);
    // The bits become the mantissa of a number in [1, 2).
    for (let index = 0; index < 4 && start + index < count; index++)
      bits[start + index] = ((words[index] ?? 0) & 0x7fffff) | 0x3f800000;
  }
  for (let index = 0; index < count; index++) values[index] = (values[index] ?? 1) - 1;
  return values;
}
