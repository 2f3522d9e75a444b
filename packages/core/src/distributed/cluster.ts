import { defineToken, type Token } from '../contract/tokens.js';
import { clusterOfEnvironment, type ClusterMembership } from './tf-config.js';

/** Says whether this process is one of several. */
export interface ClusterSource {
  /** Null for a run in one process. Throws `CONFIG_INVALID`. */
  membership(): ClusterMembership | null;
}

/** What TF_CONFIG says, unless something else is registered. */
export const CLUSTER: Token<ClusterSource> = defineToken('CLUSTER');

export const environmentCluster: ClusterSource = { membership: () => clusterOfEnvironment() };
