import { expect, test } from 'vitest';
import { bytesAskedFor } from './out-of-memory.js';
import { failure } from './tensorflow/status.js';
import { failure as xlaFailure } from './xla/pjrt.js';

test("what was asked for is read out of the libraries' messages", () => {
  // 65,536 · 65,536 · 4 bytes.
  expect(
    bytesAskedFor(
      'OOM when allocating tensor with shape[65536,65536] and type float on ' +
        '/job:localhost/replica:0/task:0/device:CPU:0 by allocator cpu',
    ),
  ).toBe(17_179_869_184);
  expect(bytesAskedFor('OOM when allocating tensor with shape[3] and type bfloat16')).toBe(6);
  expect(bytesAskedFor('Out of memory allocating 1234567 bytes.')).toBe(1_234_567);
  expect(bytesAskedFor('Out of memory while trying to allocate 2.50GiB.')).toBe(2_684_354_560);
  expect(bytesAskedFor('something else')).toBeNull();
});

test('the error says how much was needed, by which operation, and what to lower', () => {
  const error = failure(
    8,
    'OOM when allocating tensor with shape[65536,65536] and type float on CPU:0',
    'Tile(float32 [4, 4])',
  );
  expect(error.code).toBe('OUT_OF_MEMORY');
  expect(error.message).toMatch(/Tile\(float32 \[4, 4\]\).*17\.2 GB/);
  expect(error.hint).toMatch(/perDeviceTrainBatchSize.*maxLength/);
  expect(error.details['bytes']).toBe(17_179_869_184);
});

test("XLA's error says so, too, where it names a size", () => {
  const error = xlaFailure(8, 'Out of memory while trying to allocate 2.50GiB.\nmore', 'Compiling graph 1');
  expect(error.code).toBe('OUT_OF_MEMORY');
  expect(error.message).toBe(
    'Compiling graph 1 failed in XLA: 2.68 GB more were needed. Out of memory while trying to allocate 2.50GiB.',
  );
  expect(error.hint).toMatch(/perDeviceTrainBatchSize/);
  expect(error.details['bytes']).toBe(2_684_354_560);
  const other = xlaFailure(3, 'allocating 5 bytes is no matter here', 'An operation');
  expect(other.code).toBe('BACKEND_FAILED');
  expect(other.message).not.toMatch(/more were needed/);
});
