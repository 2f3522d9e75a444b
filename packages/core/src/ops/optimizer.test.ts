import '@tensorflow/tfjs-backend-cpu';
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { finiteProbe, globalNorm } from './optimizer.js';

beforeAll(() => tf.setBackend('cpu'));

/** The probe of a matrix and a vector of these values. */
const probe = (values: number[]): number =>
  tf.tidy(() => finiteProbe([tf.ones([2, 2]), tf.tensor1d(values)]).dataSync()[0] ?? 0);

describe('finiteProbe', () => {
  it('is the sum of all elements', () => {
    expect(probe([1, -7])).toBe(-2);
  });

  it.each([[[NaN, 1]], [[Infinity, 1]], [[-Infinity, 1]], [[Infinity, -Infinity]]])(
    'is not finite for %j',
    (values) => {
      expect(Number.isFinite(probe(values))).toBe(false);
    },
  );

  it('overflows if finite elements add up to more than the float32 range', () => {
    expect(probe([3e38, -3e38])).toBe(4);
    expect(probe([3e38, 3e38])).toBe(Infinity);
  });
});

it('globalNorm is Infinity above 1.8e19, because the sum of squares overflows', () => {
  const norm = (value: number) => tf.tidy(() => globalNorm([tf.scalar(value)]).dataSync()[0]);
  expect(norm(3)).toBe(3);
  expect(Number.isFinite(norm(1.8e19))).toBe(true);
  expect(norm(1.9e19)).toBe(Infinity);
});
