import { WhetstoneError } from '../contract/errors.js';
import { defineToken, type Token } from '../contract/tokens.js';
import type { WorkerRank } from '../contract/workers.js';
import { isRecord, messageOf } from '../util/index.js';

/** The addresses of a run's processes, and the rank of this one. */
export interface ClusterMembership extends WorkerRank {
  /** `host:port` by rank. */
  readonly addresses: readonly string[];
}

const VARIABLE = 'TF_CONFIG';

const invalid = (
  message: string,
  more: { readonly path?: string; readonly expected?: string; readonly found?: string; readonly hint?: string } = {},
): WhetstoneError => {
  const { path, ...rest } = more;
  return new WhetstoneError('CONFIG_INVALID', message, {
    place: { path: path === undefined ? VARIABLE : `${VARIABLE}.${path}` },
    ...rest,
  });
};

/** Returns whether a text is `host:port`. The host may be a name, an IPv4 address, or an IPv6 address in brackets. */
function isAddress(text: unknown): text is string {
  if (typeof text !== 'string') return false;
  const port = Number(/^(?:\[[0-9a-fA-F:.%]+\]|[^\s:/[\]]+):(\d{1,5})$/.exec(text)?.[1]);
  return port > 0 && port < 65_536;
}

function addressesOf(cluster: Readonly<Record<string, unknown>>, type: string): readonly string[] {
  const listed = cluster[type] ?? [];
  // TensorFlow's estimators also wrote maps from index to address, for incomplete clusters.
  if (!Array.isArray(listed))
    throw invalid(`The addresses of the tasks '${type}' are not a list.`, {
      path: `cluster.${type}`,
      expected: '["host:port", …]',
      found: JSON.stringify(listed),
    });
  const wrong = listed.findIndex((address) => !isAddress(address));
  if (wrong >= 0)
    throw invalid('An address is invalid.', {
      path: `cluster.${type}[${wrong}]`,
      expected: 'host:port',
      found: JSON.stringify(listed[wrong]),
    });
  return listed as readonly string[];
}

/**
 * Returns the cluster of the environment variable TF_CONFIG, in the format of TensorFlow's distributed training and
 * Kubeflow's TFJob. The chief has rank 0, the workers follow in their order. Returns null if the variable is not set or
 * names a single process.
 *
 * @throws `CONFIG_INVALID` with the path within the variable
 */
export function clusterOfEnvironment(
  environment: Readonly<Record<string, string | undefined>> = process.env,
): ClusterMembership | null {
  const text = environment[VARIABLE];
  if (text === undefined || text.trim() === '') return null;
  const config = parse(text);
  const { cluster, task } = config;
  // A single process may be written as an empty cluster.
  if (cluster === undefined || (isRecord(cluster) && Object.keys(cluster).length === 0)) return null;
  if (!isRecord(cluster))
    throw invalid('The cluster is not an object.', { path: 'cluster', expected: '{"worker": ["host:port", …]}' });
  if (!isRecord(task))
    throw invalid('The task of this process is missing.', {
      path: 'task',
      expected: '{"type": "worker", "index": 0}',
      found: JSON.stringify(task) ?? 'nothing',
    });
  const { type, index } = task;
  if (type === 'ps' || type === 'evaluator') {
    throw invalid(`Whetstone does not support tasks of type '${type}'.`, {
      path: 'task.type',
      expected: "'chief' or 'worker'",
      found: type,
      hint:
        type === 'ps'
          ? 'The workers sum the gradients themselves: remove the parameter servers from the cluster.'
          : 'The workers evaluate the model themselves (training.evalStrategy): remove the evaluator from the job.',
    });
  }
  // `master` is the former name of the chief.
  const chiefs = [...addressesOf(cluster, 'chief'), ...addressesOf(cluster, 'master')];
  if (chiefs.length > 1)
    throw invalid('The cluster has more than one chief.', { path: 'cluster.chief', found: chiefs.join(', ') });
  if (addressesOf(cluster, 'ps').length > 0)
    throw invalid('The cluster contains parameter servers.', {
      path: 'cluster.ps',
      hint: 'The workers sum the gradients themselves: remove the parameter servers from the cluster.',
    });
  const workers = addressesOf(cluster, 'worker');
  const addresses = [...chiefs, ...workers];
  const number = typeof index === 'string' && /^\d+$/.test(index) ? Number(index) : index;
  const ofType = type === 'chief' || type === 'master' ? chiefs : type === 'worker' ? workers : null;
  if (ofType === null)
    throw invalid('The type of this task is unknown.', {
      path: 'task.type',
      expected: "'chief' or 'worker'",
      found: JSON.stringify(type) ?? 'nothing',
    });
  if (typeof number !== 'number' || !Number.isInteger(number) || number < 0 || number >= ofType.length) {
    throw invalid('The cluster does not contain this task.', {
      path: 'task.index',
      expected: ofType.length === 0 ? `a cluster with a ${String(type)}` : `0 to ${ofType.length - 1}`,
      found: JSON.stringify(index) ?? 'nothing',
    });
  }
  const duplicate = addresses.find((address, position) => addresses.indexOf(address) !== position);
  if (duplicate !== undefined) throw invalid('Two tasks have the same address.', { path: 'cluster', found: duplicate });
  if (addresses.length === 1) return null;
  return { rank: ofType === chiefs ? number : chiefs.length + number, count: addresses.length, addresses };
}

function parse(text: string): Readonly<Record<string, unknown>> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw invalid(`The variable is not JSON: ${messageOf(cause)}`, {
      expected: '{"cluster": {"worker": ["host:port", …]}, "task": {"type": "worker", "index": 0}}',
    });
  }
  if (!isRecord(value))
    throw invalid('The variable is not an object.', {
      expected: '{"cluster": …, "task": …}',
      found: text.slice(0, 60),
    });
  return value;
}

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
