import * as tf from '@tensorflow/tfjs-core';
import { sizeOfShape, testRandom } from '@whetstone/core/util';
import { findTensorflow, findXlaPlugin } from './install/index.js';
import type { Engine } from './engines/engine.js';
import { registerKernels } from './kernels/index.js';
import { WhetstoneBackend } from './recorder/backend.js';
import type { RecorderOptions } from './recorder/recorder.js';
import { registerWhetstoneBackend } from './register.js';

const found = await findTensorflow();

/** Folder of libtensorflow. If null, tests print how to install it and are skipped. */
export const libraryFolder: string | null = 'reasons' in found ? null : found.folder;

if (libraryFolder === null)
  console.warn('SKIPPED: libtensorflow is not installed. Fetch it with: npx @whetstone/backend install cpu');

const plugin = await findXlaPlugin();

/** Path of the XLA plugin. If null, tests print how to install it and are skipped. */
export const xlaPlugin: string | null = 'reasons' in plugin ? null : plugin.path;

if (xlaPlugin === null)
  console.warn('SKIPPED: no XLA plugin is installed. Fetch it with: npx @whetstone/backend install xla-cpu');

/** Starts the backend on its tensorflow engine and makes it tfjs-core's current one. */
export async function startBackend(options: { readonly recorder?: RecorderOptions } = {}): Promise<WhetstoneBackend> {
  if (libraryFolder === null) throw new Error('Skip tests that need libtensorflow if it is not installed.');
  return registerWhetstoneBackend({ libraryFolder, ...options });
}

/** Starts the backend on its xla engine and makes it tfjs-core's current one. */
export async function startXlaBackend(
  options: { readonly recorder?: RecorderOptions; readonly moduleFolder?: string | null } = {},
): Promise<WhetstoneBackend> {
  if (xlaPlugin === null) throw new Error('Skip tests that need an XLA plugin if none is installed.');
  return registerWhetstoneBackend({ engine: 'xla', plugin: xlaPlugin, ...options });
}

/** Both engines, for tests that run on each. */
export const engines = [
  { engine: 'tensorflow', missing: libraryFolder === null, start: startBackend },
  { engine: 'xla', missing: xlaPlugin === null, start: startXlaBackend },
] as const;

let created = 0;

/** Returns a backend under a name of its own, current in tfjs-core. Its counters start at zero. */
export async function createTestBackend(engine: Engine, options: RecorderOptions = {}): Promise<WhetstoneBackend> {
  const name = `whetstone-test-${created++}`;
  const backend = new WhetstoneBackend(engine, options);
  tf.registerBackend(name, () => backend);
  registerKernels(name);
  await tf.setBackend(name);
  return backend;
}

/** A result of a computation as plain data. */
export interface Outcome {
  readonly shape: readonly number[];
  readonly dtype: string;
  readonly values: readonly number[];
}

/** Runs a computation on a backend and returns its results. Throws if it leaks a tensor or a data id. */
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
    throw new Error(`${tf.memory().numTensors - tensors} tensors leaked on ${backendName}`);
  if (tf.backend().numDataIds() !== dataIds)
    throw new Error(`${tf.backend().numDataIds() - dataIds} data ids leaked on ${backendName}`);
  return read;
}

/** Returns numbers in [-1, 1) that repeat for a seed. */
export function numbers(count: number, seed = 1): Float32Array {
  const random = testRandom(seed);
  return Float32Array.from({ length: count }, () => 2 * random() - 1);
}

/** Returns a float32 tensor of {@link numbers}. */
export const random = <R extends tf.Rank>(shape: number[], seed = 1): tf.Tensor<R> =>
  tf.tensor(numbers(sizeOfShape(shape), seed), shape as never) as unknown as tf.Tensor<R>;
