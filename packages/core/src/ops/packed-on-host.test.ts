import '@tensorflow/tfjs-backend-cpu';
import { setWasmPaths } from '@tensorflow/tfjs-backend-wasm';
import { createRequire } from 'node:module';
import { dirname, sep } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import '@whetstone/core/tfjs-gradients';
import { beforeAll, describe, expect, it } from 'vitest';
import type { PackedFourBit, PackedInt8, PackedTensor } from '../contract/storage.js';
import { storageOf, storePacked } from './storage.js';

// Expected values: those of a float32 tensor, computed here from nibbles and scales.

setWasmPaths(dirname(createRequire(import.meta.url).resolve('@tensorflow/tfjs-backend-wasm')) + sep);

const [rows, columns] = [6, 32];
const count = rows * columns;
const code = Float32Array.from({ length: 16 }, (_, index) => Math.fround(Math.tan((index - 7) / 6)));
const bytes = Uint8Array.from({ length: count / 2 }, (_, index) => (index * 37 + 11) & 255);
const absmax = Float32Array.of(0.5, 1.25, 2);
const fourBit: PackedFourBit = {
  format: 'nf4',
  shape: [rows, columns],
  transposed: false,
  code,
  packed: bytes,
  scales: { kind: 'single', absmax },
};
const fourBitNumbers = Float32Array.from(
  { length: count },
  (_, index) =>
    (code[((bytes[index >> 1] ?? 0) >> (index % 2 === 0 ? 4 : 0)) & 15] ?? 0) * (absmax[Math.floor(index / 64)] ?? 0),
);

const wholes = Int8Array.from({ length: count }, (_, index) => ((index * 53) % 255) - 127);
const rowScales = Float32Array.from({ length: columns }, (_, row) => (row + 1) / 100);
const int8: PackedInt8 = {
  format: 'int8',
  shape: [rows, columns],
  transposed: true,
  values: wholes,
  scales: rowScales,
};
const int8Numbers = Float32Array.from({ length: count }, (_, index) => {
  const [row, column] = [Math.floor(index / columns), index % columns];
  return (wholes[column * rows + row] ?? 0) * (rowScales[column] ?? 0);
});

const cases: readonly (readonly [string, PackedTensor, Float32Array, number])[] = [
  ['nf4', fourBit, fourBitNumbers, count / 2 + 4 * 3],
  ['int8, transposed', int8, int8Numbers, count + 4 * columns],
];

describe.each(['cpu', 'wasm'])('packed tensors on %s', (backend) => {
  beforeAll(async () => void (await tf.setBackend(backend)));

  it.each(cases)(
    '%s: stored packed, used as float32, also in variables, clones and gradients',
    (_, packed, numbers, size) => {
      const before = { tensors: tf.memory().numTensors, data: tf.backend().numDataIds() };
      const x = tf.tensor2d(
        Float32Array.from({ length: 4 * columns }, (_number, index) => Math.sin(index)),
        [4, columns],
      );
      const plain = tf.tensor2d(numbers, [rows, columns]);
      const stored = storePacked(packed) as tf.Tensor2D;
      expect({ shape: stored.shape, dtype: stored.dtype, ...storageOf(stored) }).toEqual({
        shape: [rows, columns],
        dtype: 'float32',
        format: packed.format,
        bytes: size,
      });
      expect(stored.dataSync()).toEqual(numbers);

      const weight = tf.tidy(() => tf.variable(tf.zeros([rows, columns]), false)) as tf.Variable<tf.Rank.R2>;
      weight.assign(stored);
      stored.dispose();
      const kept = tf.tidy(() => tf.keep(tf.reshape(tf.clone(weight as tf.Tensor2D), [columns, rows])));
      expect(storageOf(kept)).toEqual({ format: packed.format, bytes: size });

      // A weight is used as a matrix, in a list, after a cast to its own type, and by rows.
      const uses = (matrix: tf.Tensor2D): tf.Tensor[] => [
        tf.matMul(x, matrix, false, true),
        tf.concat([matrix, matrix], 1),
        tf.addN([matrix, matrix]),
        tf.cast(matrix, 'float32'),
        tf.gather(matrix, tf.tensor1d([4, 0], 'int32')),
        tf.sum(matrix, 1),
        tf.transpose(matrix),
      ];
      for (const [found, expected] of tf
        .tidy(() => uses(weight as tf.Tensor2D).map((tensor) => tensor.dataSync()))
        .map((values, index) => [values, tf.tidy(() => uses(plain)[index]?.dataSync())]))
        expect(found).toEqual(expected);
      const gradient = (matrix: tf.Tensor2D): Float32Array =>
        tf.tidy(() =>
          tf
            .grad((input) => tf.sum(tf.square(tf.matMul(input as tf.Tensor2D, matrix, false, true))))(x)
            .dataSync<'float32'>(),
        );
      expect(gradient(weight as tf.Tensor2D)).toEqual(gradient(plain));

      tf.dispose([x, plain, kept]);
      weight.dispose();
      expect({ tensors: tf.memory().numTensors, data: tf.backend().numDataIds() }).toEqual(before);
    },
  );

  it('disposes unpacked copies after each operation, even for the backward pass', () => {
    const stored = storePacked(fourBit) as tf.Tensor2D;
    const plain = tf.tensor2d(fourBitNumbers, [rows, columns]);
    const x = tf.ones([2, columns]) as tf.Tensor2D;
    /** Number of additional data buffers at the start of the backward pass. */
    const held = (matrix: tf.Tensor2D): number =>
      tf.tidy(() => {
        const before = tf.backend().numDataIds();
        let more = 0;
        tf.grad((input) => {
          let total = tf.scalar(0) as tf.Tensor;
          for (let layer = 0; layer < 5; layer++)
            total = tf.add(total, tf.sum(tf.matMul(input as tf.Tensor2D, matrix, false, true)));
          more = tf.backend().numDataIds() - before;
          return total;
        })(x);
        return more;
      });
    // The wasm backend copies a float32 matrix for each matmul whose gradient needs it.
    expect(held(stored)).toBe(held(plain) - (backend === 'wasm' ? 5 : 0));
    tf.dispose([stored, plain, x]);
  });

  it('a tensor that moves to another backend becomes a float32 tensor', async () => {
    const matrix = storePacked(fourBit);
    const other = backend === 'cpu' ? 'wasm' : 'cpu';
    await tf.setBackend(other);
    expect(tf.tidy(() => tf.mul(matrix, 1).dataSync())).toEqual(fourBitNumbers);
    matrix.dispose();
    await tf.setBackend(backend);
  });

  it('bfloat16 is converted to float32 immediately', () => {
    const stored = storePacked({ format: 'bfloat16', shape: [2], bits: Uint16Array.of(0x3f80, 0xc000) });
    expect({ ...storageOf(stored), values: [...stored.dataSync()] }).toEqual({
      format: 'float32',
      bytes: 8,
      values: [1, -2],
    });
    stored.dispose();
  });
});
