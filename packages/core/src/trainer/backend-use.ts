import {
  BACKEND_RESOLVER,
  LOGGER,
  TENSOR_BACKEND,
  WhetstoneError,
  type TensorBackendInfo,
  type TensorCluster,
} from '../contract/index.js';
import type { BackendConfig } from '../config/types.js';
import type { RunServices } from '../container.js';

/**
 * The backend in use. tfjs-core has one current backend per process, so concurrent runs share the backend that the
 * first run resolved. A run that requests a different backend meanwhile is rejected.
 */
const inUse: { info: TensorBackendInfo; requested: string; matmul: BackendConfig['matmul']; runs: number }[] = [];

export interface BackendUse {
  readonly info: TensorBackendInfo;
  release(): void;
}

/**
 * Resolves a backend, or reuses the one of a concurrent run.
 *
 * @throws `BACKEND_UNAVAILABLE`
 */
export async function useBackend(
  requested: BackendConfig,
  services: RunServices,
  cluster: TensorCluster | null = null,
): Promise<BackendUse> {
  if (cluster !== null && inUse[0] !== undefined)
    throw new WhetstoneError(
      'BACKEND_UNAVAILABLE',
      'Another run is active in this process. A run in several processes must be the only run of its process.',
      { hint: 'Start the run after the other one has ended.' },
    );
  const active = inUse[0] ?? (await resolve(requested, services, cluster));
  const matches =
    ['auto', active.requested, active.info.backend, active.info.engine].includes(requested.name) &&
    [null, undefined, active.info.engine].includes(requested.engine) &&
    active.matmul === requested.matmul &&
    (active.info.replicas?.count ?? 1) === (requested.devices ?? 1);
  if (active.runs > 0 && !services.has(TENSOR_BACKEND) && !matches) {
    throw new WhetstoneError(
      'BACKEND_UNAVAILABLE',
      `Another run in this process uses the backend ${active.info.backend}. A process has one backend at a time.`,
      {
        expected: `${active.info.backend}, engine ${active.info.engine}, matmul ${active.matmul}`,
        found: `${requested.name}${requested.engine ? `, engine ${requested.engine}` : ''}, matmul ${requested.matmul}`,
        hint: 'Start the runs one after the other, or in separate processes.',
      },
    );
  }
  active.runs += 1;
  if (!inUse.includes(active)) inUse.unshift(active);
  let released = false;
  return {
    info: active.info,
    release: () => {
      if (released) return;
      released = true;
      active.runs -= 1;
      if (active.runs === 0) inUse.splice(inUse.indexOf(active), 1);
    },
  };
}

async function resolve(
  requested: BackendConfig,
  services: RunServices,
  cluster: TensorCluster | null,
): Promise<(typeof inUse)[number]> {
  const info = services.has(TENSOR_BACKEND)
    ? services.get(TENSOR_BACKEND)
    : await services.get(BACKEND_RESOLVER).resolve({ ...requested, cluster }, services.get(LOGGER));
  if (cluster !== null && info.collective === undefined) {
    throw new WhetstoneError(
      'BACKEND_UNAVAILABLE',
      `The backend ${info.backend}, engine ${info.engine}, does not support training in several processes.`,
      {
        place: { path: 'backend' },
        expected: 'whetstone with the engine tensorflow',
        found: `${info.backend}, engine ${info.engine}`,
        hint:
          'Set "backend": {"name": "whetstone", "engine": "tensorflow"}; `npx whetstone backend install cpu` ' +
          'installs its library.',
      },
    );
  }
  return { info, requested: requested.name, matmul: requested.matmul, runs: 0 };
}
