import { expect, it } from 'vitest';
import { narrow, widen } from '@whetstone/core/safetensors';
import { quantiseInt8 } from './int8.js';

/** Computes the expected values from the definition, with the general conversion to float16. */
function byDefinition(values: Float32Array, columns: number): number[] {
  const halves = widen(narrow(values, 'F16'), 'F16');
  return Array.from(halves, (value, index) => {
    const row = halves.subarray(Math.floor(index / columns) * columns, (Math.floor(index / columns) + 1) * columns);
    const factor = Math.fround(127 / Math.max(...row.map(Math.abs)));
    const scaled = Math.fround(value * factor);
    const floor = Math.floor(scaled);
    return scaled - floor === 0.5 ? floor + (floor & 1) : Math.round(scaled);
  });
}

it('rounds as float16 and ties to even, from the smallest numbers to large ones', () => {
  for (const size of [2 ** -24, 2 ** -20, 2 ** -14, 1, 1000, 60000]) {
    const values = Float32Array.from({ length: 256 }, (_, index) => Math.sin(index * 1.7) * size);
    expect([...quantiseInt8(values, [4, 64]).values], String(size)).toEqual(
      byDefinition(values, 64).map((value) => value + 0),
    );
  }
  // The maximum is 127, so the scale is 1.
  const ties = Float32Array.of(127, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 3);
  expect([...quantiseInt8(ties, [1, 8]).values]).toEqual([127, 0, 2, 2, 0, -2, -2, 3]);
});

it('preserves rows of zeros and quantises the rows of a transposed matrix', () => {
  const packed = quantiseInt8(Float32Array.of(0, 0, 2, -1), [2, 2], { transposed: true });
  expect([...packed.values]).toEqual([0, 0, 127, -64]);
  expect([...packed.scales].map((scale) => Math.round(127 * scale))).toEqual([0, 2]);
});
