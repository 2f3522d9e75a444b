import { engine as tfjs, env, registerBackend, removeBackend, setBackend } from '@tensorflow/tfjs-core';
import { WhetstoneError } from '@whetstone/core/contract';
import { waitAtExit } from './engines/at-exit.js';
import { createTensorflowEngine, type TensorflowEngineOptions } from './engines/tensorflow/engine.js';
import { createXlaEngine, type XlaEngineOptions } from './engines/xla/engine.js';
import { registerGradients } from './tfjs-patches/gradients.js';
import { registerHostFallback } from './kernels/host-fallback.js';
import { registerKernels } from './kernels/index.js';
import { submitAfterMinimize } from './tfjs-patches/optimizer-barrier.js';
import { WhetstoneBackend } from './recorder/backend.js';
import type { RecorderOptions } from './recorder/recorder.js';
import { storeTensorInfoInValues } from './tfjs-patches/tensor-info.js';

export const BACKEND_NAME = 'whetstone';

/** An engine with its library: libtensorflow's folder, or a PJRT plugin with `engine: 'xla'`. */
export type RegisterOptions = { readonly recorder?: RecorderOptions } & (
  | ({ readonly engine?: 'tensorflow' } & TensorflowEngineOptions)
  | ({ readonly engine: 'xla' } & XlaEngineOptions)
);

/** The backend that tfjs-core holds under our name, once there is one. */
function registeredBackend(): WhetstoneBackend | null {
  const backend = tfjs().registry[BACKEND_NAME];
  return backend instanceof WhetstoneBackend ? backend : null;
}

/**
 * A process belongs to one cluster, and to it from the start: what TensorFlow has computed before cannot be taken
 * along.
 */
function isSameCluster(backend: WhetstoneBackend, cluster: TensorflowEngineOptions['cluster']): boolean {
  const { collective } = backend.engine;
  if (
    collective !== undefined &&
    cluster !== undefined &&
    collective.rank === cluster.rank &&
    collective.addresses.join() === cluster.addresses.join()
  )
    return true;
  if (collective === undefined && backend.numDataIds() === 0) return false;
  throw new WhetstoneError(
    'BACKEND_UNAVAILABLE',
    collective === undefined
      ? 'This process has computed by itself already, and cannot join others any more.'
      : 'This process belongs to another cluster already.',
    {
      expected:
        cluster === undefined ? 'a process of its own' : `task ${cluster.rank} of ${cluster.addresses.join(', ')}`,
      found: collective === undefined ? 'no cluster' : `task ${collective.rank} of ${collective.addresses.join(', ')}`,
      hint: 'Start a process for each run.',
    },
  );
}

/**
 * Whether the backend there is has the engine that is asked for. One that has another, and holds tensors still, is not
 * thrown away.
 */
function canReuse(backend: WhetstoneBackend, options: RegisterOptions): boolean {
  const { engine = 'tensorflow' } = options;
  const { cluster } = options as { readonly cluster?: TensorflowEngineOptions['cluster'] };
  if (cluster !== undefined || backend.engine.collective !== undefined) return isSameCluster(backend, cluster);
  if (
    backend.engine.name === engine &&
    (backend.engine.devices ?? 1) === (options.engine === 'xla' ? (options.devices ?? 1) : 1)
  )
    return true;
  if (backend.numDataIds() === 0) return false;
  throw new WhetstoneError(
    'BACKEND_UNAVAILABLE',
    `This process holds ${backend.numDataIds()} tensors on the engine ${backend.engine.name}.`,
    { expected: 'tensors disposed before another engine is asked for', found: engine },
  );
}

/**
 * A backend on its engine, with every kernel that tfjs-core may call; tfjs-core does not know it yet. Throws
 * `BACKEND_UNAVAILABLE` with the reason.
 */
export async function createWhetstoneBackend(options: RegisterOptions): Promise<WhetstoneBackend> {
  const backend = new WhetstoneBackend(
    options.engine === 'xla' ? createXlaEngine(options) : createTensorflowEngine(options),
    options.recorder,
  );
  const { engine } = backend;
  // One of several processes does not wait: for a sum with one that is gone it would wait for ever.
  if (engine.collective === undefined) waitAtExit(() => engine.wait());
  registerKernels(BACKEND_NAME);
  await registerHostFallback(BACKEND_NAME);
  registerGradients();
  submitAfterMinimize();
  storeTensorInfoInValues();
  env().set('CHECK_COMPUTATION_FOR_ERRORS', false);
  return backend;
}

/**
 * Loads libtensorflow from a folder or an XLA plugin, registers the tfjs-core backend `whetstone` with all its kernels,
 * and makes it tfjs-core's current backend. A process has one; asked again for the same engine, the one there is is
 * returned. Throws `BACKEND_UNAVAILABLE` with the reason.
 */
export async function registerWhetstoneBackend(options: RegisterOptions): Promise<WhetstoneBackend> {
  const there = registeredBackend();
  if (there !== null && canReuse(there, options)) {
    await setBackend(BACKEND_NAME);
    return there;
  }
  const backend = await createWhetstoneBackend(options);
  if (tfjs().findBackendFactory(BACKEND_NAME) !== null) removeBackend(BACKEND_NAME);
  // Above every other backend: whoever registers this one wants it used.
  if (!registerBackend(BACKEND_NAME, () => backend, 10))
    throw new WhetstoneError('INTERNAL', 'tfjs-core refused the backend.');
  if (!(await setBackend(BACKEND_NAME)))
    throw new WhetstoneError('BACKEND_UNAVAILABLE', 'tfjs-core could not start the backend whetstone.');
  return backend;
}
