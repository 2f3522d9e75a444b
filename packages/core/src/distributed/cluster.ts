import { defineToken, type Token } from '../contract/tokens.js';
import { clusterOfEnvironment, type ClusterMembership } from './tf-config.js';

/** Finds out whether this process belongs to a cluster. */
export interface ClusterSource {
  /**
   * Returns the membership of this process, or null if the run uses one process.
   *
   * @throws `CONFIG_INVALID`
   */
  membership(): ClusterMembership | null;
}

/** The source of the cluster. By default, the environment variable TF_CONFIG. */
export const CLUSTER: Token<ClusterSource> = defineToken('CLUSTER');

export const environmentCluster: ClusterSource = { membership: () => clusterOfEnvironment() };
