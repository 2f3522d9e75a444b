import { expect, it } from 'vitest';
import { encodeServerDef } from '../engines/tensorflow/server-def.js';
import { bucketsOf } from './collective.js';

it.each([
  ['what fits is put together', [4, 4, 4], 12, [3]],
  ['the next begins a new one', [4, 4, 5], 12, [2, 1]],
  ['what is larger is alone', [4, 40, 4, 4], 12, [1, 1, 2]],
  ['also at the end', [4, 40], 12, [1, 1]],
  ['nothing', [], 12, []],
])('buckets: %s', (_, bytes, most, buckets) => {
  expect(bucketsOf(bytes, most)).toEqual(buckets);
});

it('a server definition has the bytes of tensorflow_server.proto', () => {
  const text = (value: string): number[] => [...new TextEncoder().encode(value)];
  // tag = field << 3 | 2 for what has a length, field << 3 for a number.
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
