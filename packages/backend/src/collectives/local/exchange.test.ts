import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { expect, it } from 'vitest';
import { openExchange, type Exchange } from './exchange.js';

async function freeAddresses(count: number): Promise<string[]> {
  const servers = Array.from({ length: count }, () => createServer());
  for (const server of servers)
    await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', () => resolve()));
  const addresses = servers.map((server) => `127.0.0.1:${(server.address() as AddressInfo).port}`);
  await Promise.all(servers.map((server) => new Promise((resolve) => void server.close(resolve))));
  return addresses;
}

const open = (addresses: readonly string[], rank: number, secret = 'secret'): Promise<Exchange> =>
  openExchange({ rank, addresses, secret, timeoutSeconds: 20 });

/** Numbers whose sum depends on the order of addition. */
const numbersOf = (rank: number, length: number): Float32Array =>
  Float32Array.from({ length }, (_, index) => Math.sin(index + 1) * 10 ** ((index * 7 + rank * 3) % 9));

/** Cuts a vector into pieces of different lengths, each in memory of its own. */
function pieces(vector: Float32Array): Float32Array[] {
  const cut: Float32Array[] = [];
  for (let start = 0, size = 1; start < vector.length; start += size, size = 3 * size + 1)
    cut.push(vector.slice(start, start + size));
  return cut;
}
/** Returns the bytes of numbers. Vitest compares them faster. */
const bytesOf = (parts: readonly Float32Array[]): Buffer =>
  Buffer.concat(parts.map(({ buffer, byteOffset, byteLength }) => Buffer.from(buffer, byteOffset, byteLength)));

it.each([
  [2, 1],
  [2, 150_001],
  [3, 2],
  [3, 250_003],
  [4, 70_001],
])('%i processes have the same sums of %i numbers, added in the order of the ranks', async (count, length) => {
  const addresses = await freeAddresses(count);
  const exchanges = await Promise.all(addresses.map((_, rank) => open(addresses, rank)));
  for (let round = 0; round < 3; round++) {
    const inputs = exchanges.map((_, rank) => numbersOf(rank + round, length));
    const sums = exchanges.map(() => pieces(new Float32Array(length)));
    await Promise.all(exchanges.map((each, rank) => each.sum(pieces(inputs[rank]!), sums[rank]!)));
    // Float32Array rounds every partial sum to float32.
    const expected = inputs[0]!.slice();
    for (const other of inputs.slice(1)) for (const [index, value] of other.entries()) expected[index]! += value;
    for (const each of sums) expect(bytesOf(each).equals(bytesOf([expected]))).toBe(true);
  }
  for (const each of exchanges) each.abort('the end');
});

it('a process may be a sum ahead of the others', async () => {
  const addresses = await freeAddresses(3);
  const exchanges = await Promise.all(addresses.map((_, rank) => open(addresses, rank)));
  const length = 100_000;
  await Promise.all(
    exchanges.map(async (each, rank) => {
      for (let round = 0; round < 4; round++) {
        if (rank === round % 3) await new Promise((resolve) => setTimeout(resolve, 20));
        const sums = new Float32Array(length);
        await each.sum([new Float32Array(length).fill(rank + round)], [sums]);
        expect([sums[0], sums.at(-1)]).toEqual([3 + 3 * round, 3 + 3 * round]);
      }
    }),
  );
  for (const each of exchanges) each.abort('the end');
});

it('strangers are not summed, and do not keep the processes from each other', async () => {
  const addresses = await freeAddresses(2);
  const first = await open(addresses, 0);
  const sockets: Socket[] = [];
  for (const bytes of [Buffer.alloc(0), Buffer.alloc(36), Buffer.alloc(2 ** 20, 'x')]) {
    const socket = connect({ port: Number(addresses[0]?.split(':')[1]), host: '127.0.0.1' });
    socket.on('error', () => undefined).write(bytes);
    sockets.push(socket);
  }
  const wrong = await openExchange({ rank: 1, addresses, secret: 'another', timeoutSeconds: 0.2 });
  await expect(wrong.sum([new Float32Array(1)], [new Float32Array(1)])).rejects.toThrow(/worker 0/);
  const second = await open(addresses, 1);
  const sums = [new Float32Array(1), new Float32Array(1)];
  await Promise.all([first, second].map((each, rank) => each.sum([Float32Array.of(rank + 1)], [sums[rank]!])));
  expect(sums).toEqual([Float32Array.of(3), Float32Array.of(3)]);
  // Nothing listens any more.
  const late = connect({ port: Number(addresses[0]?.split(':')[1]), host: '127.0.0.1' });
  const refused = await new Promise<NodeJS.ErrnoException>((resolve) => void late.once('error', resolve));
  expect(refused.code).toBe('ECONNREFUSED');
  for (const each of [first, second]) each.abort('the end');
  for (const socket of sockets) socket.destroy();
});

it('a sum fails if another process is gone, sums something else, is silent, or if it is aborted', async () => {
  const pair = async (timeoutSeconds = 20): Promise<readonly [Exchange, Exchange]> => {
    const addresses = await freeAddresses(2);
    const both = await Promise.all(
      [0, 1].map((rank) => openExchange({ rank, addresses, secret: 's', timeoutSeconds })),
    );
    await Promise.all(both.map((each) => each.sum([new Float32Array(9)], [new Float32Array(9)])));
    return both as [Exchange, Exchange];
  };
  const sum = (each: Exchange, length = 9): Promise<void> =>
    each.sum([new Float32Array(length)], [new Float32Array(length)]);

  const [left, gone] = await pair();
  const waiting = sum(left);
  gone.abort('it ends');
  await expect(waiting).rejects.toThrow(/^worker 1 (closed its connection|cannot be reached)/);
  await expect(sum(gone)).rejects.toThrow('it ends');

  const [one, other] = await pair();
  const both = await Promise.allSettled([sum(one, 9), sum(other, 10)]);
  expect(both.map(({ status }) => status)).toEqual(['rejected', 'rejected']);

  const [patient] = await pair(0.2);
  await expect(sum(patient)).rejects.toThrow('no gradients arrived from another worker for 0.2 s');

  const [stopped] = await pair();
  const pending = sum(stopped);
  stopped.abort('a reason');
  await expect(pending).rejects.toThrow('a reason');
});

it('a port that is in use is an error when the exchange is opened', async () => {
  const taken = createServer();
  await new Promise<void>((resolve) => void taken.listen(0, '127.0.0.1', () => resolve()));
  const address = `127.0.0.1:${(taken.address() as AddressInfo).port}`;
  await expect(open([address, '127.0.0.1:1'], 0)).rejects.toThrow('EADDRINUSE');
  taken.close();
});
