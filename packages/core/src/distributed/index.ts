/** Training in several processes: their addresses, the rendezvous, and the messages between them. */
export { CLUSTER, environmentCluster } from './cluster.js';
export { freePort, joinCluster, workerName } from './rendezvous.js';
export { singleWorker } from './single-worker.js';
export { createStepSync, singleProcess } from './step-sync.js';
export { clusterOfEnvironment, type ClusterMembership } from './tf-config.js';
export { createWorkers, explainFailure } from './workers.js';
