import { describe, expect, it } from 'vitest';
import { WhetstoneError } from '../contract/errors.js';
import { asOutOfMemory } from './allocation.js';

/** The error that JavaScript throws for an allocation. */
function failureOf(allocate: () => unknown): unknown {
  try {
    return allocate();
  } catch (error) {
    return error;
  }
}

const withCode = (code: string, message: string): Error => Object.assign(new Error(message), { code });

describe('asOutOfMemory', () => {
  it.each([
    ['a typed array that is too long', failureOf(() => new Float32Array(2 ** 50))],
    ['an array buffer that is too long', failureOf(() => new ArrayBuffer(2 ** 50))],
    ['memory of WebAssembly', new RangeError('WebAssembly.Memory(): could not allocate memory')],
    ['TensorFlow in tfjs-node', new Error('OOM when allocating tensor with shape[9] and type float on CPU:0')],
    ['C++', new Error('std::bad_alloc')],
    ['Emscripten', new Error('Aborted(OOM). Build with -sASSERTIONS for more info.')],
    ['a worker thread', withCode('ERR_WORKER_OUT_OF_MEMORY', 'Worker terminated due to reaching memory limit')],
    ['the system', withCode('ENOMEM', 'spawn ENOMEM')],
    ['a plugin', new WhetstoneError('HOOK_FAILED', 'Hook onStep of x failed', { cause: new Error('std::bad_alloc') })],
  ])('recognises the failed allocation of %s', (_, error) => {
    expect(error).toBeInstanceOf(Error);
    expect(asOutOfMemory(error, 'Step 3', 'Use less.')).toMatchObject({
      code: 'OUT_OF_MEMORY',
      message: `Step 3 failed for lack of memory: ${(error as Error).message}`,
      hint: 'Use less.',
      details: { purpose: 'Step 3' },
    });
  });

  it.each([
    ['a negative length', failureOf(() => new Float32Array(-1))],
    ['a length of a broken file', new RangeError('Invalid typed array length: 4095')],
    ['an index', new RangeError('offset is out of bounds')],
    ['a full disk', new WhetstoneError('DISK_FULL', 'No space.', { cause: new Error('out of memory') })],
    ['no error', 'out of memory'],
  ])('returns %s unchanged', (_, error) => {
    expect(asOutOfMemory(error, 'Step 3')).toBe(error);
  });

  it('keeps the bytes, the place and the first purpose of an error of a backend', () => {
    const error = new WhetstoneError('OUT_OF_MEMORY', 'Tile(float32 [4]) failed: 17.2 GB more were needed.', {
      details: { bytes: 17_179_869_184 },
      place: { tensor: 'lm_head.weight' },
    });
    const named = asOutOfMemory(asOutOfMemory(error, 'The evaluation'), 'Step 3');
    expect(named).toMatchObject({
      message: 'The evaluation failed for lack of memory: Tile(float32 [4]) failed: 17.2 GB more were needed.',
      place: { tensor: 'lm_head.weight' },
      details: { bytes: 17_179_869_184, purpose: 'The evaluation' },
    });
  });
});
