import { expect, test } from 'vitest';
import { inHostMemory } from './bytes.js';

test('reports a tensor that is too large for an array, with its shape and bytes', () => {
  expect(() => inHostMemory('float32', [2 ** 25, 2 ** 25], (bytes) => new ArrayBuffer(bytes))).toThrow(
    expect.objectContaining({
      code: 'OUT_OF_MEMORY',
      details: { bytes: 2 ** 52 },
      message: expect.stringContaining('float32 [33554432, 33554432]'),
    }),
  );
  expect(() =>
    inHostMemory('float32', [1], () => {
      throw new TypeError('something else');
    }),
  ).toThrow(TypeError);
});
