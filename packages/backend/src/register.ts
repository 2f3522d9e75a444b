import { engine as tfjs, registerBackend, removeBackend, setBackend } from '@tensorflow/tfjs-core';
import { WhetstoneError } from '@whetstone/core/contract';
import { createTensorflowEngine, type TensorflowEngineOptions } from './engines/tensorflow/engine.js';
import { createXlaEngine, type XlaEngineOptions } from './engines/xla/engine.js';
import { registerCpuKernels } from './fallback/cpu.js';
import { registerKernels } from './kernels/index.js';
import { WhetstoneBackend } from './recorder/backend.js';
import type { RecorderOptions } from './recorder/recorder.js';
import { waitAtExit } from './tfjs-patches/at-exit.js';
import { patchTfjs } from './tfjs-patches/index.js';

export const BACKEND_NAME = 'whetstone';

/** Above every other backend, because the caller wants to use this one. */
const PRIORITY = 10;

/** An engine with its library: the folder of libtensorflow, or a PJRT plugin with `engine: 'xla'`. */
export type RegisterOptions = { readonly recorder?: RecorderOptions } & (
  | ({ readonly engine?: 'tensorflow' } & TensorflowEngineOptions)
  | ({ readonly engine: 'xla' } & XlaEngineOptions)
);

type Cluster = TensorflowEngineOptions['cluster'];

function registeredBackend(): WhetstoneBackend | null {
  const backend = tfjs().registry[BACKEND_NAME];
  return backend instanceof WhetstoneBackend ? backend : null;
}

/**
 * Returns whether a backend belongs to a cluster already. A process belongs to one cluster, and must join it before it
 * creates tensors.
 *
 * @throws `BACKEND_UNAVAILABLE` if the process cannot join the cluster any more
 */
function isInCluster(backend: WhetstoneBackend, cluster: Cluster): boolean {
  const { collective } = backend.engine;
  if (
    collective !== undefined &&
    cluster !== undefined &&
    collective.rank === cluster.rank &&
    collective.addresses.join() === cluster.addresses.join()
  )
    return true;
  if (collective === undefined && backend.numDataIds() === 0) return false;
  const describe = ({ rank, addresses }: Pick<NonNullable<Cluster>, 'rank' | 'addresses'>): string =>
    `task ${rank} of ${addresses.join(', ')}`;
  throw new WhetstoneError(
    'BACKEND_UNAVAILABLE',
    collective === undefined
      ? 'This process holds tensors already and cannot join a cluster any more.'
      : 'This process belongs to another cluster already.',
    {
      expected: cluster === undefined ? 'a process outside of a cluster' : describe(cluster),
      found: collective === undefined ? 'no cluster' : describe(collective),
      hint: 'Start a new process for each run.',
    },
  );
}

/**
 * Returns whether a backend has the requested engine.
 *
 * @throws `BACKEND_UNAVAILABLE` if it has another engine and still holds tensors
 */
function canReuse(backend: WhetstoneBackend, options: RegisterOptions): boolean {
  const { engine = 'tensorflow' } = options;
  const { cluster } = options as { readonly cluster?: Cluster };
  if (cluster !== undefined || backend.engine.collective !== undefined) return isInCluster(backend, cluster);
  if (
    backend.engine.name === engine &&
    (backend.engine.devices ?? 1) === (options.engine === 'xla' ? (options.devices ?? 1) : 1)
  )
    return true;
  if (backend.numDataIds() === 0) return false;
  throw new WhetstoneError(
    'BACKEND_UNAVAILABLE',
    `This process holds ${backend.numDataIds()} tensors on the engine ${backend.engine.name}.`,
    { expected: 'no tensors when another engine is requested', found: engine },
  );
}

/**
 * Returns a backend with its engine and every kernel that tfjs-core may call. tfjs-core does not have it yet.
 *
 * @throws `BACKEND_UNAVAILABLE` with the reason if the engine cannot start
 */
export async function createWhetstoneBackend(options: RegisterOptions): Promise<WhetstoneBackend> {
  const backend = new WhetstoneBackend(
    options.engine === 'xla' ? createXlaEngine(options) : createTensorflowEngine(options),
    options.recorder,
  );
  const { engine } = backend;
  // A process of a cluster does not wait: its sum might wait forever for a process that is gone.
  if (engine.collective === undefined) waitAtExit(() => engine.wait());
  registerKernels(BACKEND_NAME);
  await registerCpuKernels(BACKEND_NAME);
  patchTfjs();
  return backend;
}

/**
 * Loads libtensorflow or an XLA plugin, registers the backend `whetstone` with all its kernels, and makes it
 * tfjs-core's current one. A process has one such backend: a second call for the same engine returns it.
 *
 * @throws `BACKEND_UNAVAILABLE` with the reason
 */
export async function registerWhetstoneBackend(options: RegisterOptions): Promise<WhetstoneBackend> {
  const registered = registeredBackend();
  if (registered !== null && canReuse(registered, options)) {
    await setBackend(BACKEND_NAME);
    return registered;
  }
  const backend = await createWhetstoneBackend(options);
  if (tfjs().findBackendFactory(BACKEND_NAME) !== null) removeBackend(BACKEND_NAME);
  if (!registerBackend(BACKEND_NAME, () => backend, PRIORITY))
    throw new WhetstoneError('INTERNAL', 'tfjs-core did not accept the backend.');
  if (!(await setBackend(BACKEND_NAME)))
    throw new WhetstoneError('BACKEND_UNAVAILABLE', 'tfjs-core could not start the backend whetstone.');
  return backend;
}
