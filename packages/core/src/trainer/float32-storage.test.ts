import '@tensorflow/tfjs-backend-cpu';
import { setBackend, tensor2d, variable } from '@tensorflow/tfjs-core';
import { expect, test } from 'vitest';
import { storePacked } from '../ops/storage.js';
import { float32StorageWarning } from './float32-storage.js';

test('warns only about quantised weights that are stored as float32', async () => {
  await setBackend('cpu');
  const int8 = storePacked({
    format: 'int8',
    shape: [1, 4],
    transposed: false,
    values: Int8Array.of(1, 2, 3, 4),
    scales: Float32Array.of(127),
  });
  const parameters = new Map([
    ['packed', variable(int8, false)],
    ['unpacked', variable(tensor2d([[1, 2]]), false)],
    ['never quantised', variable(tensor2d([[3]]), false)],
  ]);
  expect(float32StorageWarning({ quantised: new Set(['packed']), parameters }, 'cpu')).toBeNull();
  expect(float32StorageWarning({ parameters }, 'cpu')).toBeNull();
  expect(float32StorageWarning({ quantised: new Set(['packed', 'unpacked']), parameters }, 'tensorflow')).toMatch(
    /^The backend tensorflow does not support packed weights: 1 quantised weights \(the first is unpacked\)/,
  );
  int8.dispose();
  for (const parameter of parameters.values()) parameter.dispose();
});
