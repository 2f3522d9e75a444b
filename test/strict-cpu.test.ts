import * as tf from '@tensorflow/tfjs-core';
import { resolveBackend } from '@whetstone/backend';
import { beforeAll, describe, expect, it } from 'vitest';
import './support/strict-cpu.js';

// What TensorFlow's documentation says about the types of these operations: tf.math.reduce_max, tf.math.logical_and,
// tf.linalg.matmul, tf.where and tf.math.erf.
describe("the cpu backend of the tests refuses what TensorFlow's kernels refuse", () => {
  beforeAll(() => resolveBackend({ name: 'cpu', threads: null }));

  const run = (kernel: string, inputs: tf.NamedTensorMap, attributes: tf.NamedAttrMap = {}): unknown =>
    tf.tidy(() => (tf.engine().runKernel(kernel, inputs, attributes) as tf.Tensor).dataSync());
  const bools = (): tf.Tensor => tf.tensor1d([true, false], 'bool');
  const floats = (): tf.Tensor => tf.tensor1d([1, 2]);
  const integers = (): tf.Tensor => tf.tensor1d([1, 2], 'int32');

  it.each<[string, () => unknown, RegExp]>([
    ['the maximum of booleans', () => run('Max', { x: bools() }, { reductionIndices: [0] }), /Max accepts .* not bool/],
    ['a sum of booleans', () => run('Sum', { x: bools() }, { axis: [0] }), /Sum accepts .* not bool/],
    ['a sum of a boolean and a number', () => run('Add', { a: bools(), b: bools() }), /Add accepts .* not bool/],
    ['numbers of two types', () => run('Multiply', { a: floats(), b: integers() }), /one type, not float32 and int32/],
    ['a condition of numbers', () => run('Select', { condition: floats(), t: floats(), e: floats() }), /accepts bool/],
    ['erf of integers', () => run('Erf', { x: integers() }), /Erf accepts float32 as 'x', not int32/],
    ['a list of two types', () => run('Concat', [floats(), integers()] as never, { axis: 0 }), /inputs of one type/],
    ['a kernel that tfjs-node lacks', () => run('RotateWithOffset', {}), /tfjs-node has no kernel RotateWithOffset/],
  ])('%s', (_what, compute, message) => {
    expect(() => tf.tidy(compute as () => tf.TensorContainer)).toThrow(message);
  });

  it.each<[string, () => tf.Tensor, readonly number[]]>([
    ['the maximum of numbers', () => tf.max(tf.cast(bools(), 'int32')), [1]],
    ['whether any is true', () => tf.any(bools()), [1]],
    ['a power of numbers of two types', () => tf.pow(floats(), integers()), [1, 4]],
    ['a sum of numbers whose types tfjs-core matches', () => tf.add(floats(), integers()), [2, 4]],
    ['a choice', () => tf.where(bools(), integers(), tf.neg(integers())), [1, -2]],
  ])('but not %s', (_what, compute, expected) => {
    expect([...tf.tidy(() => compute().dataSync())]).toEqual(expected);
  });
});
