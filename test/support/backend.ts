import { setWasmPaths } from '@tensorflow/tfjs-backend-wasm';
import '@tensorflow/tfjs-backend-cpu';
import * as tf from '@tensorflow/tfjs-core';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';

/** Backends that numeric tests run on: `WHETSTONE_TEST_BACKEND` where it is set, else cpu, wasm, and whetstone where its library is installed. */
export async function testBackends(): Promise<readonly string[]> {
  const asked = process.env['WHETSTONE_TEST_BACKEND'];
  if (asked !== undefined) return [asked];
  return ['cpu', 'wasm'];
}

/** Makes a tfjs-core backend ready and the present one. */
export async function useBackend(name: string): Promise<void> {
  if (name === 'wasm') setWasmPaths(join(dirname(createRequire(import.meta.url).resolve('@tensorflow/tfjs-backend-wasm/package.json')), 'dist/'));
  if (!(await tf.setBackend(name))) throw new Error(`The tfjs-core backend ${name} could not be initialised.`);
  await tf.ready();
}
