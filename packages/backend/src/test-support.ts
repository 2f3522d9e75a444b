import * as tf from '@tensorflow/tfjs-core';
import { findTensorflow, findXlaPlugin } from './install/index.js';
import type { WhetstoneBackend } from './recorder/backend.js';
import type { RecorderOptions } from './recorder/recorder.js';
import { registerWhetstoneBackend } from './register.js';

const found = await findTensorflow();

/** Folder of libtensorflow, or null; then tests say how to get it, and skip. */
export const libraryFolder: string | null = 'reasons' in found ? null : found.folder;

if (libraryFolder === null)
  console.warn('SKIPPED: libtensorflow is not installed. Fetch it with: npx whetstone backend install cpu');

const plugin = await findXlaPlugin();

/** The XLA plugin, or null; then tests say how to get it, and skip. */
export const xlaPlugin: string | null = 'reasons' in plugin ? null : plugin.path;

if (xlaPlugin === null)
  console.warn('SKIPPED: no XLA plugin is installed. Fetch it with: npx whetstone backend install xla-cpu');

/** The backend under test, current in tfjs-core. */
export async function startBackend(options: { readonly recorder?: RecorderOptions } = {}): Promise<WhetstoneBackend> {
  if (libraryFolder === null) throw new Error('Tests that need libtensorflow have to be skipped without it.');
  return registerWhetstoneBackend({ libraryFolder, ...options });
}

/** The backend on its xla engine, current in tfjs-core. */
export async function startXlaBackend(
  options: { readonly recorder?: RecorderOptions; readonly moduleFolder?: string | null } = {},
): Promise<WhetstoneBackend> {
  if (xlaPlugin === null) throw new Error('Tests that need an XLA plugin have to be skipped without it.');
  return registerWhetstoneBackend({ engine: 'xla', plugin: xlaPlugin, ...options });
}

/** What a computation gave, as plain data. */
export interface Outcome {
  readonly shape: readonly number[];
  readonly dtype: string;
  readonly values: readonly number[];
}

/** Runs a computation on a backend and reads its results. Throws where it leaves a tensor or a data id behind. */
export async function outcomes(backendName: string, compute: () => tf.Tensor | tf.Tensor[]): Promise<Outcome[]> {
  await tf.setBackend(backendName);
  const tensors = tf.memory().numTensors;
  const dataIds = tf.backend().numDataIds();
  const results = tf.tidy(compute);
  const list = Array.isArray(results) ? results : [results];
  const read = list.map((result) => ({
    shape: result.shape,
    dtype: result.dtype,
    values: Array.from(result.dataSync(), Number),
  }));
  tf.dispose(results);
  if (tf.memory().numTensors !== tensors)
    throw new Error(`${tf.memory().numTensors - tensors} tensors were left on ${backendName}`);
  if (tf.backend().numDataIds() !== dataIds)
    throw new Error(`${tf.backend().numDataIds() - dataIds} data ids were left on ${backendName}`);
  return read;
}

/** A repeatable stream of numbers in [-1, 1). */
export function numbers(count: number, seed = 1): Float32Array {
  let state = seed >>> 0;
  return Float32Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  });
}

/** A float32 tensor of such numbers. */
export const random = <R extends tf.Rank>(shape: number[], seed = 1): tf.Tensor<R> =>
  tf.tensor(
    numbers(
      shape.reduce((size, length) => size * length, 1),
      seed,
    ),
    shape as never,
  ) as unknown as tf.Tensor<R>;
