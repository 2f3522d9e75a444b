/** Training in several processes: where they are, how they meet, what they tell each other. */
export { CLUSTER, environmentCluster } from './cluster.js';
export { freePort, joinCluster, workerName, type Rendezvous as Joined } from './rendezvous.js';
export { singleWorker } from './single-worker.js';
export { clusterOfEnvironment } from './tf-config.js';
export { createWorkers, explainFailure } from './workers.js';
