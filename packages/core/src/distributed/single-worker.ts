import type { Workers } from '../contract/workers.js';

/** The workers of a run in one process. */
export const singleWorker: Workers = {
  rank: 0,
  count: 1,
  name: 'the only worker',
  allReduce: (tensors) => new Map(tensors),
  gather: async (_, mine) => [mine],
};
