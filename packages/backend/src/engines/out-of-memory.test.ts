import { expect, test } from 'vitest';
import { isOutOfMemory, requestedBytes } from './out-of-memory.js';
import { failure } from './tensorflow/status.js';
import { failure as xlaFailure } from './xla/pjrt.js';

test("the requested bytes are read from the libraries' messages", () => {
  // 65,536 · 65,536 · 4 bytes.
  expect(
    requestedBytes(
      'OOM when allocating tensor with shape[65536,65536] and type float on ' +
        '/job:localhost/replica:0/task:0/device:CPU:0 by allocator cpu',
    ),
  ).toBe(17_179_869_184);
  expect(requestedBytes('OOM when allocating tensor with shape[3] and type bfloat16')).toBe(6);
  expect(requestedBytes('Out of memory allocating 1234567 bytes.')).toBe(1_234_567);
  expect(requestedBytes('Out of memory while trying to allocate 2.50GiB.')).toBe(2_684_354_560);
  expect(requestedBytes('something else')).toBeNull();
});

test('the error names the bytes, the operation and the options to lower', () => {
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

test("XLA's error names the bytes if XLA names a size", () => {
  const error = xlaFailure(8, 'Out of memory while trying to allocate 2.50GiB.\nmore', 'Compiling graph 1');
  expect(error.code).toBe('OUT_OF_MEMORY');
  expect(error.message).toBe(
    'Compiling graph 1 failed in XLA: 2.68 GB more were needed. Out of memory while trying to allocate 2.50GiB.',
  );
  expect(error.hint).toMatch(/perDeviceTrainBatchSize/);
  expect(error.details['bytes']).toBe(2_684_354_560);
  const other = xlaFailure(3, 'allocating 5 bytes is irrelevant here', 'An operation');
  expect(other.code).toBe('BACKEND_FAILED');
  expect(other.message).not.toMatch(/more were needed/);
});

test.each([
  [8, 'anything', true],
  [13, 'Error preparing computation: Out of memory allocating 113246208 bytes.', true],
  [13, 'Out of memory while trying to allocate 2.50GiB.', true],
  [13, 'Error preparing computation: the file "out of memory.txt" is missing', false],
  [3, 'the shapes differ', false],
])('code %i with the message %o lacks memory: %o', (code, message, expected) => {
  expect(isOutOfMemory(code, message)).toBe(expected);
});
