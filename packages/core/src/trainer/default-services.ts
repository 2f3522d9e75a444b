import { CLOCK, LOGGER, type Clock } from '../contract/index.js';
import { CHECKPOINT_STORE, folderCheckpoints } from '../checkpoint/index.js';
import { provide, type ServiceRegistration } from '../container.js';
import { CLUSTER, environmentCluster } from '../distributed/index.js';
import { standardErrorLogger } from './standard-error-logger.js';

/** Monotonic seconds of the process, and wall time. */
const systemClock: Clock = {
  now: () => performance.now() / 1000,
  timestamp: () => new Date().toISOString(),
};

/** What every run has unless something else is registered. */
export const defaultServices: readonly ServiceRegistration[] = [
  provide(CLOCK, systemClock),
  provide(LOGGER, standardErrorLogger),
  provide(CHECKPOINT_STORE, folderCheckpoints),
  provide(CLUSTER, environmentCluster),
];
