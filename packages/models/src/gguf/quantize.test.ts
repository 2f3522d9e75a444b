import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { dequantize } from './dequantize.js';
import { blockLength, quantize, type QuantizedType } from './quantize.js';

// testing/make_quantized_blocks.py writes it.
const reference = JSON.parse(readFileSync(new URL('testing/quantized-blocks.json', import.meta.url), 'utf8')) as {
  readonly numbers: string;
  readonly types: Readonly<Record<string, string>>;
};
const decode = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, 'base64'));
const numbers = new Float32Array(decode(reference.numbers).buffer);
const types = Object.entries(reference.types) as [QuantizedType, string][];
const isK = (type: string): boolean => type.endsWith('_K');

const squaredErrors = (type: string, bytes: Uint8Array): number[] => {
  const read = dequantize(type, bytes, numbers.length);
  const errors: number[] = [];
  for (let from = 0; from < numbers.length; from += 256)
    errors.push(
      read.subarray(from, from + 256).reduce((sum, value, i) => sum + (value - (numbers[from + i] ?? 0)) ** 2, 0),
    );
  return errors;
};

describe('quantize', () => {
  it.each(types.filter(([type]) => !isK(type)))('writes %s byte by byte as gguf-py does', (type, bytes) => {
    expect(Buffer.from(quantize(type, numbers)).equals(Buffer.from(decode(bytes)))).toBe(true);
  });

  // ggml's compiler fuses some multiplications with additions, so that single levels can differ.
  it.each(types.filter(([type]) => isK(type)))('writes %s as exactly as ggml does', (type, bytes) => {
    const ours = squaredErrors(type, quantize(type, numbers));
    for (const [block, error] of squaredErrors(type, decode(bytes)).entries())
      expect(ours[block], `block ${block}`).toBeLessThanOrEqual(error * 1.001);
  });

  it.each(types)('writes a block of %s by its own numbers', (type) => {
    const length = blockLength(type);
    const first = quantize(type, numbers.slice(0, length));
    expect(quantize(type, numbers).subarray(0, first.length)).toEqual(first);
  });
});
