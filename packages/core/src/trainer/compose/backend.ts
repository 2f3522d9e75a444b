import {
  BACKEND_RESOLVER,
  LOGGER,
  TENSOR_BACKEND,
  WhetstoneError,
  type TensorBackendInfo,
} from '../../contract/index.js';
import type { BackendConfig } from '../../config/types.js';
import { provideFactory, type RunServices, type ServiceRegistration } from '../../container.js';
import { RUN_CLUSTER, type RunCluster } from './cluster.js';
import type { RunContext } from './context.js';

interface BackendUse {
  readonly info: TensorBackendInfo;
  readonly requested: BackendConfig;
  runs: number;
}

/**
 * The backends of the active runs. tfjs-core has one current backend per process, so a run uses the backend that a
 * concurrent run resolved. A run that requests a different backend meanwhile is rejected.
 */
const inUse: BackendUse[] = [];

/** Registers the tensor backend: that of a concurrent run, or the one that `BACKEND_RESOLVER` selects. */
export const backendServices = ({ resolution: { config } }: RunContext): readonly ServiceRegistration[] => [
  provideFactory(
    TENSOR_BACKEND,
    async (services) => {
      const [active] = inUse;
      if (active !== undefined) return sharedBackend(active, config.backend);
      const { tensors } = await services.resolve(RUN_CLUSTER);
      const { name, threads, engine, devices, matmul } = config.backend;
      const wanted = { name, threads, engine, devices, matmul, cluster: tensors };
      return (await services.resolve(BACKEND_RESOLVER)).resolve(wanted, services.get(LOGGER));
    },
    () => undefined,
  ),
];

/**
 * Returns the backend of a concurrent run.
 *
 * @throws `BACKEND_UNAVAILABLE` if it is not the requested one
 */
function sharedBackend({ info, requested: first }: BackendUse, requested: BackendConfig): TensorBackendInfo {
  const matches =
    ['auto', first.name, info.backend, info.engine].includes(requested.name) &&
    [null, undefined, info.engine].includes(requested.engine) &&
    first.matmul === requested.matmul &&
    (info.replicas?.count ?? 1) === (requested.devices ?? 1);
  if (matches) return info;
  throw new WhetstoneError(
    'BACKEND_UNAVAILABLE',
    `Another run in this process uses the backend ${info.backend}. A process has one backend at a time.`,
    {
      expected: `${info.backend}, engine ${info.engine}, matmul ${first.matmul}`,
      found: `${requested.name}${requested.engine ? `, engine ${requested.engine}` : ''}, matmul ${requested.matmul}`,
      hint: 'Start the runs one after the other, or in separate processes.',
    },
  );
}

/**
 * Creates the backend of a run, which counts as used until the services are disposed.
 *
 * @throws `BACKEND_UNAVAILABLE`
 */
export async function useBackend(
  services: RunServices,
  cluster: RunCluster,
  requested: BackendConfig,
): Promise<TensorBackendInfo> {
  if (cluster.tensors !== null && inUse.length > 0)
    throw new WhetstoneError(
      'BACKEND_UNAVAILABLE',
      'Another run is active in this process. A run in several processes must be the only run of its process.',
      { hint: 'Start the run after the other one has ended.' },
    );
  const info = await services.resolve(TENSOR_BACKEND);
  if (cluster.tensors !== null && info.collective === undefined)
    throw new WhetstoneError(
      'BACKEND_UNAVAILABLE',
      `The backend ${info.backend}, engine ${info.engine}, does not support training in several processes.`,
      {
        place: { path: 'backend' },
        expected: 'whetstone with the engine tensorflow',
        found: `${info.backend}, engine ${info.engine}`,
        hint: 'Set "backend": {"name": "whetstone", "engine": "tensorflow"}.',
      },
    );
  const use = inUse.find((other) => other.info === info) ?? { info, requested, runs: 0 };
  use.runs++;
  if (use.runs === 1) inUse.push(use);
  services.onDispose(() => {
    use.runs--;
    if (use.runs === 0) inUse.splice(inUse.indexOf(use), 1);
  });
  return info;
}
