import { WhetstoneError } from '../contract/errors.js';
import type { WorkerRank } from '../contract/workers.js';
import { isRecord, messageOf } from '../util/index.js';

/** Where the processes of a run are, and which of them this is. */
export interface ClusterMembership extends WorkerRank {
  /** `host:port` by rank. */
  readonly addresses: readonly string[];
}

const VARIABLE = 'TF_CONFIG';

const wrong = (
  message: string,
  more: { readonly path?: string; readonly expected?: string; readonly found?: string; readonly hint?: string } = {},
): WhetstoneError => {
  const { path, ...rest } = more;
  return new WhetstoneError('CONFIG_INVALID', message, {
    place: { path: path === undefined ? VARIABLE : `${VARIABLE}.${path}` },
    ...rest,
  });
};

/** Whether text is `host:port`. The host may be a name, an address, or an IPv6 address in brackets. */
function isAddress(text: unknown): text is string {
  if (typeof text !== 'string') return false;
  const port = Number(/^(?:\[[0-9a-fA-F:.%]+\]|[^\s:/[\]]+):(\d{1,5})$/.exec(text)?.[1]);
  return port > 0 && port < 65_536;
}

function addressesOf(cluster: Readonly<Record<string, unknown>>, type: string): readonly string[] {
  const listed = cluster[type] ?? [];
  // Estimators also wrote a map of index to address, for clusters that are known in part.
  if (!Array.isArray(listed))
    throw wrong('The addresses of a type of task are a list.', {
      path: `cluster.${type}`,
      expected: '["host:port", …]',
      found: JSON.stringify(listed),
    });
  const strange = listed.findIndex((address) => !isAddress(address));
  if (strange >= 0)
    throw wrong('This is no address.', {
      path: `cluster.${type}[${strange}]`,
      expected: 'host:port',
      found: JSON.stringify(listed[strange]),
    });
  return listed as readonly string[];
}

/**
 * The cluster of the environment variable TF_CONFIG, as TensorFlow's distributed training and Kubeflow's TFJob write
 * it. The ranks are those of the chief, then those of the workers in their order. Null where it is not set, or says
 * that there is one process only.
 *
 * @throws `CONFIG_INVALID` with the place within the variable
 */
export function clusterOfEnvironment(
  environment: Readonly<Record<string, string | undefined>> = process.env,
): ClusterMembership | null {
  const text = environment[VARIABLE];
  if (text === undefined || text.trim() === '') return null;
  const config = parse(text);
  const { cluster, task } = config;
  // An empty cluster is how a single process is written.
  if (cluster === undefined || (isRecord(cluster) && Object.keys(cluster).length === 0)) return null;
  if (!isRecord(cluster))
    throw wrong('The cluster is not an object.', { path: 'cluster', expected: '{"worker": ["host:port", …]}' });
  if (!isRecord(task))
    throw wrong('It does not say which task this process is.', {
      path: 'task',
      expected: '{"type": "worker", "index": 0}',
      found: JSON.stringify(task) ?? 'nothing',
    });
  const { type, index } = task;
  if (type === 'ps' || type === 'evaluator') {
    throw wrong(`Whetstone has no tasks of type '${type}'.`, {
      path: 'task.type',
      expected: "'chief' or 'worker'",
      found: type,
      hint:
        type === 'ps'
          ? 'Gradients are summed among the workers themselves: take the parameter servers out of the cluster.'
          : 'The workers evaluate together (training.evalStrategy): take the evaluator out of the job.',
    });
  }
  // `master` is what chiefs were called before.
  const chiefs = [...addressesOf(cluster, 'chief'), ...addressesOf(cluster, 'master')];
  if (chiefs.length > 1) throw wrong('A cluster has one chief.', { path: 'cluster.chief', found: chiefs.join(', ') });
  if (addressesOf(cluster, 'ps').length > 0)
    throw wrong('The cluster has parameter servers.', {
      path: 'cluster.ps',
      hint: 'Gradients are summed among the workers themselves: take the parameter servers out.',
    });
  const workers = addressesOf(cluster, 'worker');
  const addresses = [...chiefs, ...workers];
  const number = typeof index === 'string' && /^\d+$/.test(index) ? Number(index) : index;
  const own = type === 'chief' || type === 'master' ? chiefs : type === 'worker' ? workers : null;
  if (own === null)
    throw wrong('The type of this task is unknown.', {
      path: 'task.type',
      expected: "'chief' or 'worker'",
      found: JSON.stringify(type) ?? 'nothing',
    });
  if (typeof number !== 'number' || !Number.isInteger(number) || number < 0 || number >= own.length) {
    throw wrong('There is no such task in the cluster.', {
      path: 'task.index',
      expected: own.length === 0 ? `a cluster with a ${String(type)}` : `0 to ${own.length - 1}`,
      found: JSON.stringify(index) ?? 'nothing',
    });
  }
  const twice = addresses.find((address, position) => addresses.indexOf(address) !== position);
  if (twice !== undefined) throw wrong('Two tasks have one address.', { path: 'cluster', found: twice });
  if (addresses.length === 1) return null;
  return { rank: own === chiefs ? number : chiefs.length + number, count: addresses.length, addresses };
}

function parse(text: string): Readonly<Record<string, unknown>> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw wrong(`It is no JSON: ${messageOf(cause)}`, {
      expected: '{"cluster": {"worker": ["host:port", …]}, "task": {"type": "worker", "index": 0}}',
    });
  }
  if (!isRecord(value)) throw wrong('It is not an object.', { found: text.slice(0, 60) });
  return value;
}
