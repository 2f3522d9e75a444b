import { execFileSync } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isWhetstoneError } from '@whetstone/core/contract';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { libraryFolder } from '../../test-support.js';
import { encodeConfigProto } from './config-proto.js';
import { narrow, typedArray } from '../bytes.js';
import { loadTensorflowLibrary } from './library.js';

let folder = '';
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'whetstone-library-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

function refusal(path: string): {
  readonly code: string;
  readonly message: string;
  readonly found: string | undefined;
} {
  try {
    loadTensorflowLibrary(path);
  } catch (error) {
    if (isWhetstoneError(error)) return { code: error.code, message: error.message, found: error.found };
  }
  throw new Error('The folder was accepted.');
}

test('refuses a folder that does not exist or lacks the library, with the reason', () => {
  expect(refusal(folder)).toMatchObject({ code: 'BACKEND_UNAVAILABLE', found: '0 other files' });
  expect(refusal(join(folder, 'absent'))).toMatchObject({ code: 'BACKEND_UNAVAILABLE', found: 'no such folder' });
});

test.skipIf(process.platform !== 'linux')('refuses a file that is not a library, with the reason', async () => {
  await writeFile(join(folder, 'libtensorflow_framework.so.2'), 'not a library');
  await writeFile(join(folder, 'libtensorflow_cc.so.2'), 'not a library');
  expect(refusal(folder)).toMatchObject({
    code: 'BACKEND_UNAVAILABLE',
    message: expect.stringMatching(/cannot be loaded: /) as string,
  });
});

test('encodes a ConfigProto', () => {
  // intra_op_parallelism_threads = 2 (field 2), inter_op_parallelism_threads = 1 (field 5),
  // graph_options.rewrite_options.disable_meta_optimizer = true (10.10.19)
  expect([
    ...encodeConfigProto({ intraOpThreads: 2, interOpThreads: 1, optimizeGraphs: false, optimizeFunctions: true }),
  ]).toEqual([0x10, 2, 0x28, 1, 0x52, 5, 0x52, 3, 0x98, 0x01, 1]);
  expect([
    ...encodeConfigProto({ intraOpThreads: 300, interOpThreads: 1, optimizeGraphs: true, optimizeFunctions: true }),
  ]).toEqual([0x10, 0xac, 0x02, 0x28, 1]);
});

test('rounds to bfloat16 to nearest even and preserves NaN', () => {
  const given = Float32Array.of(1, 1 + 2 ** -8, 1 + 3 * 2 ** -8, -0.1, Infinity, NaN);
  const halves = narrow(given);
  const back = typedArray('bfloat16', halves.buffer);
  expect(Array.from(back.slice(0, 3))).toEqual([1, 1, 1 + 2 ** -6]);
  expect(back[3]).toBeCloseTo(-0.1, 3);
  expect(back[4]).toBe(Infinity);
  expect(back[5]).toBeNaN();
});

describe.skipIf(libraryFolder === null)('an installed library', () => {
  test('reports its version', () => {
    expect(loadTensorflowLibrary(libraryFolder ?? '').version).toMatch(/^2\.\d+\.\d+/);
  });

  test('prints nothing and lets the process exit normally', () => {
    // koffi closes libraries before their exit handlers run, which would cause a segmentation fault: see `pin`.
    const built = new URL('../../../dist/index.js', import.meta.url).href;
    const script = `
      import { registerWhetstoneBackend } from ${JSON.stringify(built)};
      import { matMul, tensor2d } from '@tensorflow/tfjs-core';
      await registerWhetstoneBackend({ libraryFolder: process.env.LIBRARY });
      console.log(matMul(tensor2d([[1, 2], [3, 4]]), tensor2d([[1, 0], [0, 1]])).dataSync().join());`;
    const result = execFileSync(process.execPath, ['--input-type=module', '--eval', script], {
      cwd: new URL('../../..', import.meta.url),
      env: { ...process.env, LIBRARY: libraryFolder ?? '' },
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    expect(result).toBe('1,2,3,4\n');
  });
});
