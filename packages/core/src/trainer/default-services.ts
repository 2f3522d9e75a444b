import { CLOCK, LOGGER, type Clock } from '../contract/index.js';
import { CHECKPOINT_STORE, folderCheckpoints } from '../checkpoint/index.js';
import { provide, type ServiceRegistration } from '../container.js';
import { CLUSTER, environmentCluster } from '../distributed/index.js';
import { standardErrorLogger } from './standard-error-logger.js';

/** Monotonic seconds since the process started, and the wall-clock time. */
const systemClock: Clock = {
  now: () => performance.now() / 1000,
  timestamp: () => new Date().toISOString(),
};

/** The services of every run. Registered services replace them. */
export const defaultServices: readonly ServiceRegistration[] = [
  provide(CLOCK, systemClock),
  provide(LOGGER, standardErrorLogger),
  provide(CHECKPOINT_STORE, folderCheckpoints),
  provide(CLUSTER, environmentCluster),
];
