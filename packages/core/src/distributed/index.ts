/** Training in several processes: their addresses, the rendezvous, and the messages between them. */
export { CLUSTER, environmentCluster } from './cluster.js';
export { freePort, joinCluster, workerName, type Rendezvous } from './rendezvous.js';
export { singleWorker } from './single-worker.js';
export { createStepSync, singleProcess } from './step-sync.js';
export { clusterOfEnvironment } from './tf-config.js';
export { createWorkers, explainFailure } from './workers.js';
