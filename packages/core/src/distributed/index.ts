/** Training in several processes: where they are, how they meet, what they tell each other. */
import { defineToken, type Token } from '../contract/tokens.js';
import { clusterOfEnvironment, type ClusterMembership } from './tf-config.js';

export { freePort, joinCluster, workerName, type Rendezvous as Joined } from './rendezvous.js';
export { singleWorker } from './single-worker.js';
export { clusterOfEnvironment } from './tf-config.js';
export { createWorkers, explainFailure } from './workers.js';

/** Says whether this process is one of several. */
export interface ClusterSource {
  /** Null for a run in one process. Throws `CONFIG_INVALID`. */
  membership(): ClusterMembership | null;
}

/** What TF_CONFIG says, unless something else is registered. */
export const CLUSTER: Token<ClusterSource> = defineToken('CLUSTER');

export const environmentCluster: ClusterSource = { membership: () => clusterOfEnvironment() };
