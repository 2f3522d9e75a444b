import { expect, it } from 'vitest';
import { encodeServerDef } from '../engines/tensorflow/server-def.js';
import { bucketsOf } from './collective.js';

it.each([
  ['tensors that fit share a bucket', [4, 4, 4], 12, [3]],
  ['a tensor that does not fit starts a new bucket', [4, 4, 5], 12, [2, 1]],
  ['a larger tensor is a bucket by itself', [4, 40, 4, 4], 12, [1, 1, 2]],
  ['a larger tensor at the end', [4, 40], 12, [1, 1]],
  ['no tensors', [], 12, []],
])('buckets: %s', (_, bytes, limit, buckets) => {
  expect(bucketsOf(bytes, limit)).toEqual(buckets);
});

it('a server definition has the bytes of tensorflow_server.proto', () => {
  const text = (value: string): number[] => [...new TextEncoder().encode(value)];
  // A tag is field << 3 | 2 for length-delimited fields and field << 3 for numbers.
  const task = (index: number, address: string): number[] => [
    0x12,
    4 + address.length,
    0x08,
    index,
    0x12,
    address.length,
    ...text(address),
  ];
  const tasks = [...task(0, 'a:1'), ...task(1, 'bb:2')];
  const job = [0x0a, 6, ...text('worker'), ...tasks];
  const cluster = [0x0a, job.length, ...job];
  const leader = text('/job:worker/replica:0/task:0');
  // ConfigProto.experimental = 16: the tag takes two bytes.
  const config = [0x82, 0x01, leader.length + 2, 0x0a, leader.length, ...leader];
  const expected = [
    0x0a,
    cluster.length,
    ...cluster,
    0x12,
    6,
    ...text('worker'),
    0x18,
    1,
    0x22,
    config.length,
    ...config,
    0x2a,
    4,
    ...text('grpc'),
  ];
  expect([...encodeServerDef({ addresses: ['a:1', 'bb:2'], rank: 1 })]).toEqual(expected);
});
