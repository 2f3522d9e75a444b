import { BACKEND_RESOLVER, LOGGER, TENSOR_BACKEND, WhetstoneError, type TensorBackendInfo } from '../contract/index.js';
import type { BackendConfig } from '../config/types.js';
import type { Services } from '../container.js';

/**
 * tfjs-core has one current backend a process. Runs at the same time therefore share it: what the first of them resolved, the others use,
 * and a run that asks for another one meanwhile is refused.
 */
const inUse: { info: TensorBackendInfo; wanted: string; runs: number }[] = [];

export interface BackendUse {
  readonly info: TensorBackendInfo;
  release(): void;
}

/** @throws WhetstoneError `BACKEND_UNAVAILABLE` */
export async function useBackend(wanted: BackendConfig, services: Services): Promise<BackendUse> {
  const present = inUse[0] ?? (await resolve(wanted, services));
  const serves = ['auto', present.wanted, present.info.backend, present.info.engine].includes(wanted.name) && [null, undefined, present.info.engine].includes(wanted.engine);
  if (present.runs > 0 && !services.has(TENSOR_BACKEND) && !serves) {
    throw new WhetstoneError('BACKEND_UNAVAILABLE', `Another run of this process computes on ${present.info.backend}; a process has one backend at a time.`, {
      expected: `${present.info.backend}, engine ${present.info.engine}`,
      found: wanted.engine ? `${wanted.name}, engine ${wanted.engine}` : wanted.name,
      hint: 'Run one after the other, or in processes of their own.',
    });
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

async function resolve(wanted: BackendConfig, services: Services): Promise<(typeof inUse)[number]> {
  const info = services.has(TENSOR_BACKEND) ? services.get(TENSOR_BACKEND) : await services.get(BACKEND_RESOLVER).resolve(wanted, services.get(LOGGER));
  return { info, wanted: wanted.name, runs: 0 };
}
