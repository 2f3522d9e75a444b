import { describe, expect, it } from 'vitest';
import { isWhetstoneError, type WhetstoneError } from '../contract/errors.js';
import { clusterOfEnvironment } from './tf-config.js';

const place = (config: unknown) =>
  clusterOfEnvironment({ TF_CONFIG: typeof config === 'string' ? config : JSON.stringify(config) });
const worker = ['a:2222', 'b:2222', 'c:2222'];

function refusal(config: unknown): WhetstoneError {
  try {
    place(config);
  } catch (error) {
    if (isWhetstoneError(error)) return error;
  }
  throw new Error('it was not refused');
}

describe('TF_CONFIG', () => {
  it('is a single process where it is not set, empty, or names one process', () => {
    expect(clusterOfEnvironment({})).toBeNull();
    expect(place('')).toBeNull();
    expect(place('{}')).toBeNull();
    expect(place({ cluster: {}, task: { type: 'worker', index: 0 } })).toBeNull();
    expect(place({ cluster: { worker: ['a:1'] }, task: { type: 'worker', index: 0 } })).toBeNull();
    expect(place({ cluster: { chief: ['a:1'] }, task: { type: 'chief', index: 0 } })).toBeNull();
  });

  it('gives workers the ranks of their list', () => {
    expect(place({ cluster: { worker }, task: { type: 'worker', index: 1 } })).toEqual({
      rank: 1,
      count: 3,
      addresses: worker,
    });
  });

  it('puts the chief first, as TensorFlow does, and takes the index as Kubeflow may write it', () => {
    const cluster = { worker, chief: ['boss:2222'] };
    expect(place({ cluster, task: { type: 'chief', index: 0 }, environment: 'cloud' })).toEqual({
      rank: 0,
      count: 4,
      addresses: ['boss:2222', ...worker],
    });
    expect(place({ cluster, task: { type: 'worker', index: '2' } })?.rank).toBe(3);
    expect(place({ cluster: { worker, master: ['boss:2222'] }, task: { type: 'worker', index: 0 } })?.rank).toBe(1);
  });

  it('takes names, addresses and IPv6 in brackets', () => {
    const addresses = ['job-worker-0.space.svc:2222', '10.0.0.7:80', '[fe80::1]:443'];
    expect(place({ cluster: { worker: addresses }, task: { type: 'worker', index: 2 } })).toMatchObject({
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
      'a worker beside parameter servers',
      { cluster: { worker, ps: ['p:1'] }, task: { type: 'worker', index: 0 } },
      'TF_CONFIG.cluster.ps',
      /parameter servers/,
    ],
    ['another type', { cluster: { worker }, task: { type: 'boss', index: 0 } }, 'TF_CONFIG.task.type', /unknown/],
    [
      'a chief that is not there',
      { cluster: { worker }, task: { type: 'chief', index: 0 } },
      'TF_CONFIG.task.index',
      /no such task/,
    ],
    [
      'an index beyond the list',
      { cluster: { worker }, task: { type: 'worker', index: 3 } },
      'TF_CONFIG.task.index',
      /no such task/,
    ],
    [
      'an index that is no number',
      { cluster: { worker }, task: { type: 'worker', index: -1 } },
      'TF_CONFIG.task.index',
      /no such task/,
    ],
    ['no task', { cluster: { worker } }, 'TF_CONFIG.task', /which task/],
    [
      'an address without a port',
      { cluster: { worker: ['a:1', 'b'] }, task: { type: 'worker', index: 0 } },
      'TF_CONFIG.cluster.worker[1]',
      /no address/,
    ],
    [
      'a port out of range',
      { cluster: { worker: ['a:1', 'b:70000'] }, task: { type: 'worker', index: 0 } },
      'TF_CONFIG.cluster.worker[1]',
      /no address/,
    ],
    [
      'a map instead of a list',
      { cluster: { worker: { 0: 'a:1' } }, task: { type: 'worker', index: 0 } },
      'TF_CONFIG.cluster.worker',
      /list/,
    ],
    [
      'two tasks at one address',
      { cluster: { worker: ['a:1', 'a:1'] }, task: { type: 'worker', index: 0 } },
      'TF_CONFIG.cluster',
      /one address/,
    ],
    [
      'two chiefs',
      { cluster: { worker, chief: ['x:1', 'y:1'] }, task: { type: 'worker', index: 0 } },
      'TF_CONFIG.cluster.chief',
      /one chief/,
    ],
    ['no JSON', '{cluster', 'TF_CONFIG', /no JSON/],
    ['a list', '[]', 'TF_CONFIG', /not an object/],
  ])('refuses %s and says where', (_, config, path, message) => {
    const error = refusal(config);
    expect(error.code).toBe('CONFIG_INVALID');
    expect(error.exitCode).toBe(2);
    expect(error.place?.path).toBe(path);
    expect(error.message).toMatch(message);
  });
});
