import '@tensorflow/tfjs-backend-cpu';
import { matMul, memory, ready, setBackend, tensor2d, tidy, type Tensor2D } from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { createRandom, fillFloat32 } from '@whetstone/core/random';
import { principalComponents } from './principal-components.js';

describe('principalComponents', () => {
  beforeAll(async () => {
    await setBackend('cpu');
    await ready();
  });

  /** Returns a matrix with singular values of about 2⁻ⁱ in random, nearly orthogonal directions. */
  const decaying = (rows: number, columns: number): Tensor2D => {
    const random = createRandom(5);
    return tidy(() => {
      const left = tensor2d(
        fillFloat32(rows * 12, () => random.normal()),
        [rows, 12],
      );
      const right = tensor2d(
        fillFloat32(
          12 * columns,
          (() => {
            let at = 0;
            return () => random.normal() * 0.5 ** Math.floor(at++ / columns);
          })(),
        ),
        [12, columns],
      );
      return matMul(left, right);
    });
  };

  it.each([
    [10, 7],
    [7, 10],
    [90, 70],
    [70, 120],
  ])('finds orthonormal singular vectors and their singular values, %i × %i', (rows, columns) => {
    const before = memory().numTensors;
    const weight = decaying(rows, columns);
    const rank = 5;
    const { left, values, right } = principalComponents(weight, rank, createRandom(1));
    const numbers = weight.dataSync();
    for (let one = 0; one < rank; one++) {
      for (let other = 0; other < rank; other++) {
        let product = 0;
        for (let row = 0; row < rows; row++)
          product += (left[row * rank + one] ?? NaN) * (left[row * rank + other] ?? NaN);
        expect(product).toBeCloseTo(one === other ? 1 : 0, 4);
      }
      // The definition of singular vectors: W·v = σ·u.
      for (let row = 0; row < rows; row++) {
        let image = 0;
        for (let column = 0; column < columns; column++)
          image += (numbers[row * columns + column] ?? NaN) * (right[one * columns + column] ?? NaN);
        expect(Math.abs(image - (values[one] ?? NaN) * (left[row * rank + one] ?? NaN))).toBeLessThan(
          1e-3 * (values[0] ?? 1),
        );
      }
      if (one > 0) expect(values[one]).toBeLessThanOrEqual(values[one - 1] ?? NaN);
    }
    weight.dispose();
    expect(memory().numTensors).toBe(before);
  });
});
