/** Training in several processes: their addresses, the rendezvous, and the messages between them. */
export { clusterToken, createClusterToken, TOKEN_VARIABLE } from './cluster-token.js';
export { freePort, isLocalCluster, joinCluster, workerName } from './rendezvous.js';
export { createStepSync, singleProcess } from './step-sync.js';
export { CLUSTER, clusterOfEnvironment, environmentCluster, type ClusterMembership } from './tf-config.js';
export { createWorkers, explainFailure, singleWorker } from './workers.js';
