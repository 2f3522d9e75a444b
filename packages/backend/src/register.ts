import { env, findBackend, registerBackend, removeBackend, setBackend } from '@tensorflow/tfjs-core';
import { WhetstoneError } from '@whetstone/core/contract';
import { createTensorflowEngine, type TensorflowEngineOptions } from './engines/tensorflow/engine.js';
import { createXlaEngine, type XlaEngineOptions } from './engines/xla/engine.js';
import { registerLeanGradients } from './fused/gradients.js';
import { registerHostFallback } from './kernels/host-fallback.js';
import { registerKernels } from './kernels/index.js';
import { WhetstoneBackend } from './recorder/backend.js';
import type { RecorderOptions } from './recorder/recorder.js';

export const BACKEND_NAME = 'whetstone';

/** An engine with its library: libtensorflow's folder, or a PJRT plugin with `engine: 'xla'`. */
export type RegisterOptions = { readonly recorder?: RecorderOptions } & (({ readonly engine?: 'tensorflow' } & TensorflowEngineOptions) | ({ readonly engine: 'xla' } & XlaEngineOptions));

let registered: WhetstoneBackend | null = null;

/** Whether the backend there is has the engine that is asked for. One that has another, and holds tensors still, is not thrown away. */
function mayStay(present: WhetstoneBackend, { engine = 'tensorflow' }: RegisterOptions): boolean {
  if (present.engine.name === engine) return true;
  if (present.numDataIds() === 0) return false;
  throw new WhetstoneError('BACKEND_UNAVAILABLE', `This process holds ${present.numDataIds()} tensors on the engine ${present.engine.name}.`, { expected: 'tensors disposed before another engine is asked for', found: engine });
}

/**
 * Loads libtensorflow from a folder or an XLA plugin, registers the tfjs-core backend `whetstone` with all its kernels, and makes it tfjs-core's
 * current backend. A process has one; asked again for the same engine, the one there is is returned. Throws `BACKEND_UNAVAILABLE` with the reason.
 */
export async function registerWhetstoneBackend(options: RegisterOptions): Promise<WhetstoneBackend> {
  if (registered !== null && findBackend(BACKEND_NAME) === registered && mayStay(registered, options)) {
    await setBackend(BACKEND_NAME);
    return registered;
  }
  const backend = new WhetstoneBackend(options.engine === 'xla' ? createXlaEngine(options) : createTensorflowEngine(options), options.recorder);
  if (findBackend(BACKEND_NAME) !== null) removeBackend(BACKEND_NAME);
  // Above every other backend: whoever registers this one wants it used.
  if (!registerBackend(BACKEND_NAME, () => backend, 10)) throw new WhetstoneError('INTERNAL', 'tfjs-core refused the backend.');
  registerKernels(BACKEND_NAME);
  await registerHostFallback(BACKEND_NAME);
  registerLeanGradients();
  if (!(await setBackend(BACKEND_NAME))) throw new WhetstoneError('BACKEND_UNAVAILABLE', 'tfjs-core could not start the backend whetstone.');
  env().set('CHECK_COMPUTATION_FOR_ERRORS', false);
  registered = backend;
  return backend;
}
