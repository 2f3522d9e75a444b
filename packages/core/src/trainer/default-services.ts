import { CLOCK, LOGGER, type Clock, type Logger } from '../contract/index.js';
import { CHECKPOINT_STORE, folderCheckpoints } from '../checkpoint/index.js';
import { provide, type ServiceRegistration } from '../container.js';
import { CLUSTER, environmentCluster } from '../distributed/index.js';

/** Monotonic seconds of the process, and wall time. */
const systemClock: Clock = {
  now: () => performance.now() / 1000,
  timestamp: () => new Date().toISOString(),
};

/** Writes warnings and errors to standard error; what else is told is left out. */
const standardErrorLogger: Logger = {
  debug: () => undefined,
  info: () => undefined,
  warn: (message) => void process.stderr.write(`warning: ${message}\n`),
  error: (message) => void process.stderr.write(`error: ${message}\n`),
};

/** What every run has unless something else is registered. */
export const defaultServices: readonly ServiceRegistration[] = [
  provide(CLOCK, systemClock),
  provide(LOGGER, standardErrorLogger),
  provide(CHECKPOINT_STORE, folderCheckpoints),
  provide(CLUSTER, environmentCluster),
];
