import '@whetstone/core/tfjs-gradients';
import * as tf from '@tensorflow/tfjs-core';
import type { PackedFourBit, PackedInt8, PackedTensor } from '@whetstone/core/contract';
import { sizeOfShape } from '@whetstone/core/util';
import { storageOf, storeBfloat16, storePacked } from '@whetstone/core/ops';
import { storeFrom, unpackOnHost } from '@whetstone/core/ops/internal';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { libraryFolder, numbers, random, startBackend, startXlaBackend, xlaPlugin } from '../test-support.js';
import type { WhetstoneBackend } from './backend.js';

/** Any 16 numbers: these tests check the formula. `test/numerics/nf4.test.ts` has bitsandbytes' code. */
const code = Float32Array.from({ length: 16 }, (_, index) => Math.sin(index) / 3);
const bytes = (count: number, seed: number): Uint8Array =>
  Uint8Array.from(numbers(count, seed), (value) => Math.floor((value + 1) * 127.9));

function fourBit(shape: readonly number[], kind: 'single' | 'double', transposed = false): PackedFourBit {
  const count = sizeOfShape(shape);
  const blocks = Math.ceil(count / 64);
  const scales =
    kind === 'single'
      ? { kind, absmax: numbers(blocks, 5) }
      : {
          kind,
          quantised: bytes(blocks, 6),
          nestedAbsmax: numbers(Math.ceil(blocks / 256), 7),
          offset: Math.fround(0.7),
          code: numbers(256, 8),
        };
  return { format: 'nf4', shape, transposed, code, packed: bytes(Math.ceil(count / 2), 4), scales };
}

const int8 = (rows: number, columns: number, transposed: boolean): PackedInt8 => ({
  format: 'int8',
  shape: transposed ? [columns, rows] : [rows, columns],
  transposed,
  values: Int8Array.from(numbers(rows * columns, 3), (value) => Math.round(127 * value)),
  scales: numbers(rows, 9),
});

const cases: readonly (readonly [string, PackedTensor, bytes: number])[] = [
  ['nf4 of complete blocks', fourBit([64, 128], 'single'), 64 * 64 + 128 * 4],
  // 25 blocks, whose scales are padded to a group of 256.
  ['nf4, nested scales, an incomplete block', fourBit([39, 41], 'double'), 25 * 32 + 256 + 4],
  ['nf4, transposed', fourBit([128, 64], 'double', true), 64 * 64 + 256 + 4],
  ['nf4, more than one group of scales', fourBit([256, 128], 'double'), 256 * 64 + 512 + 8],
  ['int8', int8(6, 10, false), 60 + 24],
  ['int8, transposed', int8(6, 10, true), 60 + 24],
  [
    'bfloat16',
    {
      format: 'bfloat16',
      shape: [5, 7],
      bits: Uint16Array.from(numbers(35, 2), (value) => Math.floor(value * 100) + 0x3f80),
    },
    70,
  ],
];

const engines = [
  ['tensorflow', startBackend, libraryFolder === null],
  ['xla', startXlaBackend, xlaPlugin === null],
  // Compiled graphs use loops. It comes after the other engine, because a running backend keeps its options.
  [
    'tensorflow, always compiled',
    () => startBackend({ recorder: { maxEagerNodes: 0 } }),
    libraryFolder === null || xlaPlugin === null,
  ],
] as const;

for (const [name, start, missing] of engines) {
  describe.skipIf(missing)(`packed tensors on ${name}`, () => {
    let backend: WhetstoneBackend;
    beforeAll(async () => {
      backend = await start();
    });
    afterAll(() => tf.disposeVariables());
    /** XLA may fuse a product and a sum, which rounds once instead of twice. */
    const tolerance = name === 'xla' ? 1e-6 : 0;
    const near = (found: ArrayLike<number>, expected: ArrayLike<number>, distance = tolerance): void => {
      expect(found.length).toBe(expected.length);
      const largest = Array.from(found).reduce(
        (worst, value, index) => Math.max(worst, Math.abs(value - (expected[index] ?? NaN))),
        0,
      );
      expect(largest).toBeLessThanOrEqual(distance);
    };

    it.each(cases)('%s: values, products, byte count and disposal', (_, packed, size) => {
      const expected = unpackOnHost(packed);
      // The tables of a format stay on the device.
      storePacked(packed).dispose();
      const before = backend.counters().deviceBytes;
      const tensors = tf.memory().numTensors;
      const stored = storePacked(packed);
      expect(storageOf(stored)).toEqual({ format: packed.format, bytes: size });
      expect(backend.counters().deviceBytes - before).toBe(size);
      near(stored.dataSync(), expected);
      const plain = tf.tensor(expected, [...packed.shape]);
      const [rows = 1, columns = 1] = packed.shape;
      const x = random<tf.Rank.R2>([3, columns]);
      const [found, expectedProduct, gradient, expectedGradient] = tf.tidy(() => {
        const product = (weight: tf.Tensor) => (input: tf.Tensor) =>
          tf.matMul(input as tf.Tensor2D, weight as tf.Tensor2D, false, true);
        const results = [
          product(stored)(x),
          product(plain)(x),
          tf.grad(product(stored))(x),
          tf.grad(product(plain))(x),
        ];
        return results.map((tensor) => tensor.dataSync());
      }) as unknown as Float32Array[];
      near(found!, expectedProduct!, 1e-5);
      near(gradient!, expectedGradient!, 1e-5);
      // A reshaped tensor, a clone, and an elementwise operation.
      tf.tidy(() => {
        near(
          tf.neg(tf.reshape(stored, [columns, rows])).dataSync(),
          expected.map((value) => -value),
        );
        near(
          tf.add(tf.clone(stored), plain).dataSync(),
          expected.map((value) => value + value),
          1e-5,
        );
      });
      tf.dispose([stored, plain, x]);
      expect(tf.memory().numTensors).toBe(tensors);
      expect(backend.counters().deviceBytes).toBe(before);
    });

    it.each([
      ['4 bits', fourBit([64, 64], 'double')],
      ['8 bits', int8(64, 64, false)],
    ] as const)('%s are multiplied in bfloat16 on request', (_, packed) => {
      const stored = storePacked({ ...packed, computeDtype: 'bfloat16' });
      const rounded = tf.tidy(() => storeBfloat16(tf.tensor2d(unpackOnHost(packed), [64, 64])));
      near(
        tf.tidy(() => tf.matMul(tf.eye(64), stored as tf.Tensor2D).dataSync()),
        rounded.dataSync(),
      );
      tf.dispose([stored, rounded]);
    });

    it('asynchronous reads return unpacked numbers', async () => {
      const [, packed] = cases[1]!;
      const stored = storePacked(packed);
      near(await stored.data(), unpackOnHost(packed));
      stored.dispose();
    });

    it('a variable can be assigned a packed tensor, then a plain one', () => {
      const packed = fourBit([8, 16], 'single');
      const before = backend.counters().deviceBytes;
      const variable = tf.tidy(() => tf.variable(tf.zeros([8, 16]), false));
      const stored = storePacked(packed);
      variable.assign(stored);
      stored.dispose();
      near(variable.dataSync(), unpackOnHost(packed));
      expect(storageOf(variable).format).toBe('nf4');
      const plain = tf.ones([8, 16]);
      variable.assign(plain);
      plain.dispose();
      expect(storageOf(variable)).toEqual({ format: 'float32', bytes: 8 * 16 * 4 });
      variable.dispose();
      // The code table of 256 pairs stays on the device.
      expect(backend.counters().deviceBytes - before).toBeLessThanOrEqual(2048);
    });

    it('rounding to bfloat16 is to nearest, ties to even', () => {
      // 1 + 2⁻⁸ is between 1 and 1 + 2⁻⁷ and is rounded to the even 1, and 1 + 3·2⁻⁸ to 1 + 2⁻⁶.
      const x = tf.tensor1d([1 + 2 ** -8, 1 + 3 * 2 ** -8, -Math.PI, 0]);
      const stored = storeBfloat16(x);
      expect(storageOf(stored)).toEqual({ format: 'bfloat16', bytes: 8 });
      expect([...stored.dataSync()]).toEqual([1, 1 + 2 ** -6, -3.140625, 0]);
      tf.dispose([x, stored]);
    });

    it('rows of a bfloat16 table are gathered exactly', () => {
      const table = tf.tidy(() => storeBfloat16(tf.reshape(tf.range(0, 64), [16, 4])));
      const rows = tf.tidy(() => tf.gather(table, tf.tensor1d([3, 0, 15], 'int32')).dataSync());
      expect([...rows]).toEqual([12, 13, 14, 15, 0, 1, 2, 3, 60, 61, 62, 63]);
      table.dispose();
    });

    it('storeFrom stores what its callback writes, and leaks nothing if that fails', async () => {
      const values = numbers(12);
      const before = backend.counters();
      const stored = await storeFrom([3, 4], 'float32', async (target) => target.set(new Uint8Array(values.buffer)));
      expect([...stored.dataSync()]).toEqual([...values]);
      expect(backend.counters().deviceBytes - before.deviceBytes).toBe(48);
      const narrow = await storeFrom([2], 'bfloat16', async (target) => target.set([0x80, 0x3f, 0x00, 0xc0]));
      expect([...narrow.dataSync()]).toEqual([1, -2]);
      tf.dispose([stored, narrow]);
      await expect(storeFrom([2], 'float32', () => Promise.reject(new Error('read failed')))).rejects.toThrow(
        'read failed',
      );
      expect(backend.counters().deviceBytes).toBe(before.deviceBytes);
    });
  });
}
