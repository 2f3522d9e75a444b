import '@tensorflow/tfjs-backend-cpu';
import { setBackend, tensor2d, variable } from '@tensorflow/tfjs-core';
import { expect, test } from 'vitest';
import { storePacked } from '../ops/storage.js';
import { float32StorageWarning } from './float32-storage.js';

test('only quantised weights that are kept as float32 are told', async () => {
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
    ['whole', variable(tensor2d([[1, 2]]), false)],
    ['never quantised', variable(tensor2d([[3]]), false)],
  ]);
  expect(float32StorageWarning({ quantised: new Set(['packed']), parameters }, 'cpu')).toBeNull();
  expect(float32StorageWarning({ parameters }, 'cpu')).toBeNull();
  expect(float32StorageWarning({ quantised: new Set(['packed', 'whole']), parameters }, 'tensorflow')).toMatch(
    /^The backend tensorflow keeps no packed weights: 1 quantised weights \(whole is the first\)/,
  );
  int8.dispose();
  for (const parameter of parameters.values()) parameter.dispose();
});
