import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, test } from 'vitest';
import { outcomes, startXlaBackend, xlaPlugin } from '../../../test-support.js';
import { ModuleBuilder, type Hlo } from './builder.js';
import { opLowerings } from './lower.js';

/** Returns the TensorFlow ops that the kernels' source files name. */
function opsOfKernels(): string[] {
  const source = join(dirname(fileURLToPath(import.meta.url)), '../../..');
  const files = ['kernels', 'fused'].flatMap((folder) =>
    readdirSync(join(source, folder))
      .filter((name) => name.endsWith('.ts') && !name.endsWith('.test.ts'))
      .map((name) => join(source, folder, name)),
  );
  return [
    ...new Set(
      files.flatMap((file) =>
        [...readFileSync(file, 'utf8').matchAll(/\bops?\('([A-Z]\w+)'/g)].map(([, name = '']) => name),
      ),
    ),
  ];
}

/** Ops of kernels with a `stablehlo` lowering: the AdamW update, random numbers, and the softmax in place. */
const opsOfOtherLowerings = new Set([
  'VarHandleOp',
  'AssignVariableOp',
  'ReadVariableOp',
  'DestroyResourceOp',
  'ResourceApplyAdam',
  'StatelessRandomUniform',
  'InplaceUpdate',
]);

test('every TensorFlow op that a kernel names has a lowering', () => {
  const names = opsOfKernels();
  expect(names.length).toBeGreaterThan(30);
  expect(names.filter((name) => opLowerings[name] === undefined && !opsOfOtherLowerings.has(name))).toEqual([]);
});

test.each([
  ['float32', true, 'float32'],
  ['float32', false, 'float32'],
  ['bfloat16', true, 'float32'],
  ['bfloat16', false, 'bfloat16'],
  ['int32', false, 'int32'],
] as const)('a product of %s numbers (on a CPU: %s) has the dtype %s', (type, onProcessor, expected) => {
  const input = (number: number): Hlo => ({ type, shape: [2, 2], name: null, input: number, values: null });
  expect(new ModuleBuilder(opLowerings, 1, onProcessor).op('MatMul', [input(0), input(1)])).toMatchObject({
    type: expected,
    shape: [2, 2],
  });
});

describe.skipIf(xlaPlugin === null)("tfjs-core's semantics, from which XLA's differ", () => {
  beforeAll(async () => void (await startXlaBackend()));
  const run = async (compute: () => tf.Tensor): Promise<readonly number[]> =>
    (await outcomes('whetstone', compute))[0]?.values ?? [];

  test('a NaN is both maximum and minimum, but never the position of one', async () => {
    const withNan = (): tf.Tensor =>
      tf.tensor([
        [3, NaN, 5],
        [NaN, NaN, NaN],
      ]);
    expect(await run(() => tf.max(withNan(), 1))).toEqual([NaN, NaN]);
    expect(await run(() => tf.min(withNan(), 1))).toEqual([NaN, NaN]);
    expect(await run(() => tf.maximum(withNan(), tf.scalar(4)))).toEqual([4, NaN, 5, NaN, NaN, NaN]);
    expect(await run(() => tf.argMax(withNan(), 1))).toEqual([2, 0]);
    expect(await run(() => tf.argMin(withNan(), 1))).toEqual([0, 0]);
  });

  test('an index outside a table reads NaN or the smallest integer; its neighbours are unaffected', async () => {
    const table = (): tf.Tensor2D => tf.tensor2d([1, 2, 3, 4], [2, 2]);
    const indices = (): tf.Tensor1D => tf.tensor1d([1, 2, -1, 0], 'int32');
    expect(await run(() => tf.gather(table(), indices()))).toEqual([3, 4, NaN, NaN, NaN, NaN, 1, 2]);
    expect(await run(() => tf.gather(tf.cast(table(), 'int32'), indices(), 1))).toEqual([
      2,
      -(2 ** 31),
      -(2 ** 31),
      1,
      4,
      -(2 ** 31),
      -(2 ** 31),
      3,
    ]);
    expect(
      await run(() =>
        tf.gatherND(
          table(),
          tf.tensor2d(
            [
              [0, 1],
              [1, 2],
              [-1, 0],
            ],
            undefined,
            'int32',
          ),
        ),
      ),
    ).toEqual([2, NaN, NaN]);
    expect(
      await run(() => tf.scatterND(tf.tensor2d([[0], [7]], undefined, 'int32'), tf.tensor1d([5, 6]), [2])),
    ).toEqual([5, 0]);
  });

  test('products that are computed as transposed products are equal', async () => {
    const number = (row: number, column: number): number => ((3 * row + 5 * column) % 7) - 3;
    const matrix = (rows: number, columns: number): tf.Tensor2D =>
      tf.tensor2d(
        Float32Array.from({ length: rows * columns }, (_, at) => number(Math.floor(at / columns), at % columns)),
        [rows, columns],
      );
    const expected = (
      rows: number,
      columns: number,
      inner: number,
      left: (row: number, at: number) => number,
      right: (at: number, column: number) => number,
    ): number[] =>
      Array.from({ length: rows * columns }, (_, index) =>
        Array.from(
          { length: inner },
          (__, at) => left(Math.floor(index / columns), at) * right(at, index % columns),
        ).reduce((sum, term) => sum + term, 0),
      );
    // The gradient of an adapter's narrow matrix, and logits.
    expect(await run(() => tf.matMul(matrix(4, 9), matrix(4, 2), true, false))).toEqual(
      expected(9, 2, 4, (row, at) => number(at, row), number),
    );
    expect(await run(() => tf.matMul(matrix(2, 3), matrix(8200, 3), false, true))).toEqual(
      expected(2, 8200, 3, number, (at, column) => number(column, at)),
    );
  });

  test('sine and cosine of infinity and NaN are NaN', async () => {
    const angles = (): tf.Tensor => tf.tensor([0, Infinity, -Infinity, NaN]);
    expect(await run(() => tf.cos(angles()))).toEqual([1, NaN, NaN, NaN]);
    expect(await run(() => tf.sin(angles()))).toEqual([0, NaN, NaN, NaN]);
  });
});
