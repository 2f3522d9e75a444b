import type { Clock } from '../contract/index.js';

/** Monotonic seconds since the process started, and the wall-clock time. */
export const systemClock: Clock = {
  now: () => performance.now() / 1000,
  timestamp: () => new Date().toISOString(),
};
