import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { canDequantize, dequantize } from './dequantize.js';
import { half } from './half.js';
import { tensorTypes } from './tensor-types.js';

interface Reference {
  readonly types: Record<string, { readonly elements: number; readonly bytes: string; readonly numbers: string }>;
}
const reference = JSON.parse(
  readFileSync(new URL('testing/reference-blocks.json', import.meta.url), 'utf8'),
) as Reference;
const decode = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, 'base64'));

describe('dequantize', () => {
  it.each(Object.entries(reference.types))('reads %s as gguf-py does', (name, { elements, bytes, numbers }) => {
    const expected = new Float32Array(decode(numbers).buffer);
    const values = dequantize(name, decode(bytes), elements);
    expect(values.length).toBe(expected.length);
    for (const [i, value] of values.entries())
      expect(Object.is(value, expected[i]) || value === expected[i], `${i}: ${value} ${expected[i]}`).toBe(true);
  });

  it('reads every type that import supports', () => {
    for (const name of [
      'F32',
      'F16',
      'BF16',
      'Q4_0',
      'Q4_1',
      'Q5_0',
      'Q5_1',
      'Q8_0',
      'Q2_K',
      'Q3_K',
      'Q4_K',
      'Q5_K',
      'Q6_K',
    ])
      expect(canDequantize(name), name).toBe(true);
    expect(canDequantize('IQ2_XXS')).toBe(false);
    expect(canDequantize('constructor')).toBe(false);
  });

  it('has the block sizes of the reference', () => {
    const types = Object.entries(reference.types);
    expect(types.length).toBeGreaterThan(0);
    for (const [name, { elements, bytes }] of types) {
      const type = [...tensorTypes.values()].find((candidate) => candidate.name === name);
      expect((elements / (type?.elements ?? NaN)) * (type?.bytes ?? NaN), name).toBe(decode(bytes).length);
    }
  });

  it('reads half precision: 1, the smallest and largest number, -0, infinity, NaN', () => {
    // 0x3c00 = 2^0; 0x0001 = 2^-24; 0x7bff = (2 - 2^-10) * 2^15
    expect([0x3c00, 0x0001, 0x7bff, 0x8000, 0x7c00, 0xc000].map(half)).toEqual([1, 2 ** -24, 65504, -0, Infinity, -2]);
    expect(half(0x7e00)).toBeNaN();
  });

  it('reads a Q4_1 block: d·q + m, low nibbles first', () => {
    // d = 0.5 (0x3800), m = -1 (0xbc00); byte 0 = 0x21: number 0 is 0.5·1 - 1, number 16 is 0.5·2 - 1
    const bytes = new Uint8Array(20);
    bytes.set([0x00, 0x38, 0x00, 0xbc, 0x21]);
    const values = dequantize('Q4_1', bytes, 32);
    expect([values[0], values[16], values[1]]).toEqual([-0.5, 0, -1]);
  });

  it('reads a Q8_0 block: d·q', () => {
    const bytes = new Uint8Array(34);
    bytes.set([0x00, 0x40, 3, 0xff, 0x80]); // d = 2; q = 3, -1, -128
    expect(Array.from(dequantize('Q8_0', bytes, 32).subarray(0, 4))).toEqual([6, -2, -256, 0]);
  });

  it('reads a Q6_K block: d·scale·(q - 32)', () => {
    const bytes = new Uint8Array(210);
    bytes[0] = 0x05; // low bits of number 0
    bytes[128] = 0x02; // high bits of number 0: q = 5 + 2·16 = 37
    bytes[192] = 0xfd; // scale of the first sixteen: -3
    bytes.set([0x00, 0x3c], 208); // d = 1
    expect(dequantize('Q6_K', bytes, 256)[0]).toBe(-15);
  });
});
