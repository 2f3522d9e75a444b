import {
  BACKEND_RESOLVER,
  LOGGER,
  TENSOR_BACKEND,
  WhetstoneError,
  type TensorBackendInfo,
  type TensorCluster,
} from '../contract/index.js';
import type { BackendConfig } from '../config/types.js';
import type { Services } from '../container.js';

/**
 * tfjs-core has one current backend a process. Runs at the same time therefore share it: what the first of them
 * resolved, the others use, and a run that asks for another one meanwhile is refused.
 */
const inUse: { info: TensorBackendInfo; wanted: string; matmul: BackendConfig['matmul']; runs: number }[] = [];

export interface BackendUse {
  readonly info: TensorBackendInfo;
  release(): void;
}

/** @throws WhetstoneError `BACKEND_UNAVAILABLE` */
export async function useBackend(
  wanted: BackendConfig,
  services: Services,
  cluster: TensorCluster | null = null,
): Promise<BackendUse> {
  if (cluster !== null && inUse[0] !== undefined)
    throw new WhetstoneError(
      'BACKEND_UNAVAILABLE',
      'Another run of this process is at work: one that trains with other processes is alone in its own.',
      { hint: 'Run one after the other.' },
    );
  const present = inUse[0] ?? (await resolve(wanted, services, cluster));
  const serves =
    ['auto', present.wanted, present.info.backend, present.info.engine].includes(wanted.name) &&
    [null, undefined, present.info.engine].includes(wanted.engine) &&
    present.matmul === wanted.matmul &&
    (present.info.replicas?.count ?? 1) === (wanted.devices ?? 1);
  if (present.runs > 0 && !services.has(TENSOR_BACKEND) && !serves) {
    throw new WhetstoneError(
      'BACKEND_UNAVAILABLE',
      `Another run of this process computes on ${present.info.backend}; a process has one backend at a time.`,
      {
        expected: `${present.info.backend}, engine ${present.info.engine}, matmul ${present.matmul}`,
        found: `${wanted.name}${wanted.engine ? `, engine ${wanted.engine}` : ''}, matmul ${wanted.matmul}`,
        hint: 'Run one after the other, or in processes of their own.',
      },
    );
  }
  present.runs += 1;
  if (!inUse.includes(present)) inUse.unshift(present);
  let released = false;
  return {
    info: present.info,
    release: () => {
      if (released) return;
      released = true;
      present.runs -= 1;
      if (present.runs === 0) inUse.splice(inUse.indexOf(present), 1);
    },
  };
}

async function resolve(
  wanted: BackendConfig,
  services: Services,
  cluster: TensorCluster | null,
): Promise<(typeof inUse)[number]> {
  const info = services.has(TENSOR_BACKEND)
    ? services.get(TENSOR_BACKEND)
    : await services.get(BACKEND_RESOLVER).resolve({ ...wanted, cluster }, services.get(LOGGER));
  if (cluster !== null && info.collective === undefined) {
    throw new WhetstoneError(
      'BACKEND_UNAVAILABLE',
      `The backend ${info.backend}, engine ${info.engine}, does not train in several processes.`,
      {
        place: { path: 'backend' },
        expected: 'whetstone with its engine tensorflow',
        found: `${info.backend}, engine ${info.engine}`,
        hint:
          'Set "backend": {"name": "whetstone", "engine": "tensorflow"}; `npx whetstone backend install cpu` ' +
          'fetches its library.',
      },
    );
  }
  return { info, wanted: wanted.name, matmul: wanted.matmul, runs: 0 };
}
