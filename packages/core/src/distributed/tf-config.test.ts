import { describe, expect, it } from 'vitest';
import { isWhetstoneError, type WhetstoneError } from '../contract/errors.js';
import { clusterOfEnvironment } from './tf-config.js';

const clusterOf = (config: unknown) =>
  clusterOfEnvironment({ TF_CONFIG: typeof config === 'string' ? config : JSON.stringify(config) });
const worker = ['a:2222', 'b:2222', 'c:2222'];

function errorOf(config: unknown): WhetstoneError {
  try {
    clusterOf(config);
  } catch (error) {
    if (isWhetstoneError(error)) return error;
  }
  throw new Error('the configuration was not rejected');
}

describe('TF_CONFIG', () => {
  it('means a single process if it is not set, empty, or names one process', () => {
    expect(clusterOfEnvironment({})).toBeNull();
    expect(clusterOf('')).toBeNull();
    expect(clusterOf('{}')).toBeNull();
    expect(clusterOf({ cluster: {}, task: { type: 'worker', index: 0 } })).toBeNull();
    expect(clusterOf({ cluster: { worker: ['a:1'] }, task: { type: 'worker', index: 0 } })).toBeNull();
    expect(clusterOf({ cluster: { chief: ['a:1'] }, task: { type: 'chief', index: 0 } })).toBeNull();
  });

  it('ranks workers in the order of their list', () => {
    expect(clusterOf({ cluster: { worker }, task: { type: 'worker', index: 1 } })).toEqual({
      rank: 1,
      count: 3,
      addresses: worker,
    });
  });

  it('gives the chief rank 0, as TensorFlow does, and accepts an index as text, as Kubeflow may write it', () => {
    const cluster = { worker, chief: ['boss:2222'] };
    expect(clusterOf({ cluster, task: { type: 'chief', index: 0 }, environment: 'cloud' })).toEqual({
      rank: 0,
      count: 4,
      addresses: ['boss:2222', ...worker],
    });
    expect(clusterOf({ cluster, task: { type: 'worker', index: '2' } })?.rank).toBe(3);
    expect(clusterOf({ cluster: { worker, master: ['boss:2222'] }, task: { type: 'worker', index: 0 } })?.rank).toBe(1);
  });

  it('accepts host names, IPv4 addresses, and IPv6 addresses in brackets', () => {
    const addresses = ['job-worker-0.space.svc:2222', '10.0.0.7:80', '[fe80::1]:443'];
    expect(clusterOf({ cluster: { worker: addresses }, task: { type: 'worker', index: 2 } })).toMatchObject({
      rank: 2,
      addresses,
    });
  });

  it.each([
    [
      'an evaluator',
      { cluster: { worker }, task: { type: 'evaluator', index: 0 } },
      'TF_CONFIG.task.type',
      /evaluator/,
    ],
    [
      'a parameter server',
      { cluster: { worker, ps: ['p:1'] }, task: { type: 'ps', index: 0 } },
      'TF_CONFIG.task.type',
      /ps/,
    ],
    [
      'a worker and parameter servers',
      { cluster: { worker, ps: ['p:1'] }, task: { type: 'worker', index: 0 } },
      'TF_CONFIG.cluster.ps',
      /parameter servers/,
    ],
    ['an unknown type', { cluster: { worker }, task: { type: 'boss', index: 0 } }, 'TF_CONFIG.task.type', /unknown/],
    [
      'a chief that is not in the cluster',
      { cluster: { worker }, task: { type: 'chief', index: 0 } },
      'TF_CONFIG.task.index',
      /does not contain this task/,
    ],
    [
      'an index beyond the list',
      { cluster: { worker }, task: { type: 'worker', index: 3 } },
      'TF_CONFIG.task.index',
      /does not contain this task/,
    ],
    [
      'a negative index',
      { cluster: { worker }, task: { type: 'worker', index: -1 } },
      'TF_CONFIG.task.index',
      /does not contain this task/,
    ],
    ['no task', { cluster: { worker } }, 'TF_CONFIG.task', /task of this process is missing/],
    [
      'an address without a port',
      { cluster: { worker: ['a:1', 'b'] }, task: { type: 'worker', index: 0 } },
      'TF_CONFIG.cluster.worker[1]',
      /address is invalid/,
    ],
    [
      'a port out of range',
      { cluster: { worker: ['a:1', 'b:70000'] }, task: { type: 'worker', index: 0 } },
      'TF_CONFIG.cluster.worker[1]',
      /address is invalid/,
    ],
    [
      'a map instead of a list',
      { cluster: { worker: { 0: 'a:1' } }, task: { type: 'worker', index: 0 } },
      'TF_CONFIG.cluster.worker',
      /not a list/,
    ],
    [
      'two tasks at the same address',
      { cluster: { worker: ['a:1', 'a:1'] }, task: { type: 'worker', index: 0 } },
      'TF_CONFIG.cluster',
      /same address/,
    ],
    [
      'two chiefs',
      { cluster: { worker, chief: ['x:1', 'y:1'] }, task: { type: 'worker', index: 0 } },
      'TF_CONFIG.cluster.chief',
      /more than one chief/,
    ],
    ['a text that is not JSON', '{cluster', 'TF_CONFIG', /not JSON/],
    ['a list', '[]', 'TF_CONFIG', /not an object/],
  ])('rejects %s with the path of the error', (_, config, path, message) => {
    const error = errorOf(config);
    expect(error.code).toBe('CONFIG_INVALID');
    expect(error.exitCode).toBe(2);
    expect(error.place?.path).toBe(path);
    expect(error.message).toMatch(message);
  });
});
