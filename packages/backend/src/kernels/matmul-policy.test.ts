import '@whetstone/core/tfjs-gradients';
import * as tf from '@tensorflow/tfjs-core';
import { storeBfloat16 } from '@whetstone/core/ops';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { engines, random } from '../test-support.js';
import type { WhetstoneBackend } from '../recorder/backend.js';

/** bfloat16 has an 8-bit significand: rounding to nearest is off by at most 2⁻⁸ of the number. */
const unit = 2 ** -8;

for (const { engine, missing, start } of engines) {
  describe.skipIf(missing)(`products in bfloat16 on ${engine}`, () => {
    let backend: WhetstoneBackend;
    beforeAll(async () => {
      backend = await start();
    });
    afterAll(() => backend.setMatmul('float32'));

    const under = (policy: 'float32' | 'bfloat16', compute: () => tf.Tensor): Float32Array => {
      backend.setMatmul(policy);
      return tf.tidy(() => compute().dataSync()) as Float32Array;
    };

    /** Checks |Σ ab − Σ âb̂| ≤ Σ|a||b|·((1 + u)² − 1), plus one rounding of the sum. */
    function expectRounded(compute: (a: tf.Tensor, b: tf.Tensor) => tf.Tensor, a: tf.Tensor, b: tf.Tensor): void {
      const exact = under('float32', () => compute(a, b));
      const magnitude = under('float32', () => compute(tf.abs(a), tf.abs(b)));
      const rounded = under('bfloat16', () => compute(a, b));
      const worst = exact.reduce((most, value, index) => {
        const operands = (magnitude[index] ?? 0) * ((1 + unit) ** 2 - 1);
        return Math.max(
          most,
          Math.abs((rounded[index] ?? NaN) - value) / (operands + (Math.abs(value) + operands) * unit),
        );
      }, 0);
      expect(worst).toBeLessThanOrEqual(1);
      expect(
        [...rounded].some((value, index) => value !== exact[index]),
        'some number was rounded',
      ).toBe(true);
    }

    it('are within the rounding bounds: flat, batched, transposed, with a bias', () => {
      const [a, b, deep, wide, bias] = [
        random([33, 70], 1),
        random([70, 21], 2),
        random([3, 5, 40], 3),
        random([3, 40, 6], 4),
        random<tf.Rank.R1>([21], 5),
      ];
      expectRounded((x, y) => tf.matMul(x as tf.Tensor2D, y as tf.Tensor2D), a!, b!);
      expectRounded(
        (x, y) => tf.matMul(tf.transpose(x as tf.Tensor2D), tf.transpose(y as tf.Tensor2D), true, true),
        a!,
        b!,
      );
      expectRounded((x, y) => tf.matMul(x as tf.Tensor3D, y as tf.Tensor3D), deep!, wide!);
      const fused = under('bfloat16', () => tf.fused.matMul({ a: a as tf.Tensor2D, b: b as tf.Tensor2D, bias }));
      const separate = under('bfloat16', () => tf.add(tf.matMul(a as tf.Tensor2D, b as tf.Tensor2D), bias));
      expect([...fused]).toEqual([...separate]);
      tf.dispose([a!, b!, deep!, wide!, bias]);
    });

    it('use weights stored in bfloat16 without rounding them again', () => {
      const [a, b] = [random<tf.Rank.R2>([17, 32], 1), random<tf.Rank.R2>([32, 9], 2)];
      const kept = storeBfloat16(b) as tf.Tensor2D;
      const product = (weight: tf.Tensor2D) => (): tf.Tensor => tf.matMul(a, weight);
      expect([...under('bfloat16', product(kept))]).toEqual([...under('bfloat16', product(b))]);
      tf.dispose([a, b, kept]);
    });

    it('do not affect outer products, sums and softmax', () => {
      const [column, row, x] = [random<tf.Rank.R2>([8, 1], 1), random<tf.Rank.R2>([1, 8], 2), random([40], 3)];
      for (const compute of [
        () => tf.matMul(column, row),
        () => tf.sum(tf.mul(x!, x!)),
        () => tf.softmax(x as tf.Tensor1D),
      ]) {
        expect([...under('bfloat16', compute)]).toEqual([...under('float32', compute)]);
      }
      tf.dispose([column, row, x!]);
    });

    it('compile to different programs than float32 products', () => {
      const [a, b] = [random<tf.Rank.R2>([9, 9], 1), random<tf.Rank.R2>([9, 9], 2)];
      const results = Array.from({ length: 12 }, (__, turn) => [
        ...under(turn % 2 === 0 ? 'float32' : 'bfloat16', () => tf.matMul(a, b)),
      ]);
      results.forEach((result, turn) => expect(result).toEqual(results[turn % 2]));
      expect(results[0]).not.toEqual(results[1]);
      tf.dispose([a, b]);
    });
  });
}
