import { createHash } from 'node:crypto';
import { connect, createServer, type Socket } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import type { WhetstoneError } from '../contract/errors.js';
import { clusterToken, createClusterToken } from './cluster-token.js';
import { PROTOCOL } from './messages.js';
import { freePort, joinCluster, type JoinOptions, type Rendezvous } from './rendezvous.js';

/* What reaches the port of the chief and does not come from a worker of the run. */

const joined: Rendezvous[] = [];
const sockets: Socket[] = [];
afterEach(() => {
  for (const each of joined.splice(0)) each.leave();
  for (const each of sockets.splice(0)) each.destroy();
});

async function addressesFor(count: number): Promise<string[]> {
  const ports = new Set<number>();
  while (ports.size < count) ports.add(await freePort('127.0.0.1'));
  return [...ports].map((port) => `127.0.0.1:${port}`);
}

async function join(addresses: readonly string[], rank: number, more: Partial<JoinOptions> = {}): Promise<Rendezvous> {
  const each = await joinCluster(
    { rank, count: addresses.length, addresses },
    { timeoutSeconds: 30, settings: { training: 'a' }, signal: new AbortController().signal, ...more },
  );
  joined.push(each);
  return each;
}

const failureOf = (promise: Promise<unknown>): Promise<WhetstoneError> =>
  promise.then(
    () => Promise.reject(new Error('it did not fail')),
    (error: unknown) => error as WhetstoneError,
  );

/** Connects to the chief, sends chunks, and leaves the connection open. Resolves when it is closed or all was sent. */
async function send(addresses: readonly string[], chunks: readonly (string | Buffer)[]): Promise<Socket> {
  const port = Number(addresses[0]?.split(':')[1]);
  for (;;) {
    const socket = connect({ port, host: '127.0.0.1' });
    sockets.push(socket);
    const isOpen = await new Promise<boolean>((resolve) => {
      socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
    });
    if (!isOpen) continue;
    socket.on('error', () => undefined).resume();
    const isClosed = new Promise<void>((resolve) => void socket.once('close', () => resolve()));
    for (const chunk of chunks) {
      if (!socket.writable) break;
      if (!socket.write(chunk))
        await Promise.race([isClosed, new Promise((resolve) => void socket.once('drain', resolve))]);
    }
    return socket;
  }
}

const closed = (socket: Socket): Promise<void> =>
  new Promise((resolve) => {
    if (socket.destroyed) resolve();
    else socket.once('close', () => resolve());
  });

/** Expects that the workers exchange values. */
async function expectWorking(workers: readonly Rendezvous[]): Promise<void> {
  const values = workers.map((_, rank) => rank);
  for (const answer of await Promise.all(workers.map(({ client }, rank) => client.gather('a point', rank))))
    expect(answer).toEqual(values);
}

const megabyte = Buffer.alloc(2 ** 20, 'x');
const helloOfWorker1 = { type: 'hello', protocol: PROTOCOL, rank: 1, settings: {}, cores: '', address: '' };
const hello = (changes: Readonly<Record<string, unknown>>): string =>
  `${JSON.stringify({ ...helloOfWorker1, ...changes })}\n`;

describe('a connection ends nothing but itself if it sends', () => {
  const cases: readonly (readonly [name: string, chunksFor: (cluster: string) => (string | Buffer)[]])[] = [
    ['null', () => ['null\n']],
    ['a number', () => ['1\n']],
    ['a list', () => ['[{"type":"hello"}]\n']],
    ['an empty line', () => ['\n']],
    ['text that is not JSON', () => ['{"type":"hello"\n']],
    ['bytes that are not text', () => [Buffer.from([0xff, 0, 0xfe, 10])]],
    ['a message without a type', () => ['{}\n']],
    ['the name of a member of every object as type', () => ['{"type":"constructor"}\n']],
    ['a hello with a type only', () => ['{"type":"hello"}\n']],
    ['a hello without settings', (cluster) => [hello({ cluster, settings: undefined })]],
    ['a hello with settings that are no object', (cluster) => [hello({ cluster, settings: null })]],
    ['a hello with settings that are no texts', (cluster) => [hello({ cluster, settings: { training: {} } })]],
    ['a hello with a rank that is no number', (cluster) => [hello({ cluster, rank: '1' })]],
    ['a hello with a negative rank', (cluster) => [hello({ cluster, rank: -1 })]],
    ['a hello with a rank beyond the others', (cluster) => [hello({ cluster, rank: 9 })]],
    ['a hello as worker 0', (cluster) => [hello({ cluster, rank: 0 })]],
    ['a hello of another version', (cluster) => [hello({ cluster, protocol: 99, settings: null })]],
    ['messages before a hello', () => ['{"type":"failed","code":"INTERNAL","message":"x"}\n{"type":"leave"}\n']],
    ['a message as deep as it is long', () => [`${'['.repeat(30_000)}${']'.repeat(30_000)}\n`]],
    ['32 MiB without a line end', () => Array.from({ length: 32 }, () => megabyte)],
  ];
  it.each(cases)('%s', async (_, chunksFor) => {
    const addresses = await addressesFor(2);
    const chunks = chunksFor(createHash('sha256').update(addresses.join()).digest('hex').slice(0, 16));
    const chief = join(addresses, 0);
    // Before the worker joins, and while the run is at work.
    await closed(await send(addresses, chunks));
    const workers = await Promise.all([chief, join(addresses, 1)]);
    await closed(await send(addresses, chunks));
    await expectWorking(workers);
  });
});

describe('without a token, before the run starts, the worker can still join after', () => {
  const hashOf = (text: string): string => createHash('sha256').update(text).digest('hex').slice(0, 16);
  const failed = '{"type":"failed","code":"INTERNAL","message":"forged"}\n';

  it.each([
    [
      'a hello with another configuration',
      { training: hashOf('b') },
      '',
      /^\[CONFIG_CONFLICT\] .* 127\.0\.0\.1 was refused/,
    ],
    ['a forged hello whose connection fails', { training: hashOf('a') }, failed, /ended .*: \[INTERNAL\] forged\.$/],
    [
      'a forged hello whose connection ends',
      { training: hashOf('a') },
      '{"type":"nonsense"}\n',
      /ended before the run/,
    ],
  ])('%s', async (_, settings, then, warning) => {
    // With a third worker, a forged hello does not complete the cluster.
    const addresses = await addressesFor(3);
    const warnings: string[] = [];
    const chief = join(addresses, 0, { warn: (message) => warnings.push(message) });
    await closed(await send(addresses, [hello({ cluster: hashOf(addresses.join()), settings }), then]));
    await expectWorking(await Promise.all([chief, join(addresses, 1), join(addresses, 2)]));
    expect(warnings).toEqual([expect.stringMatching(warning)]);
  });
});

it('a second hello does not displace the first one', async () => {
  const addresses = await addressesFor(2);
  const chief = join(addresses, 0);
  const cluster = createHash('sha256').update(addresses.join()).digest('hex').slice(0, 16);
  const settings = { training: createHash('sha256').update('b').digest('hex').slice(0, 16) };
  const first = join(addresses, 1);
  const workers = await Promise.all([chief, first]);
  // While the run is at work: with the same and with another configuration.
  await closed(await send(addresses, [hello({ cluster, settings })]));
  await closed(await send(addresses, [hello({ cluster })]));
  await expectWorking(workers);
});

it('connections that say nothing do not keep the workers out', async () => {
  const addresses = await addressesFor(2);
  const chief = join(addresses, 0);
  for (let count = 0; count < 100; count++) await send(addresses, []);
  const idle = [...sockets];
  await expectWorking(await Promise.all([chief, join(addresses, 1)]));
  // The oldest had to make room.
  await closed(idle[0]!);
  expect(idle.at(-1)?.destroyed).toBe(false);
});

it('a text may contain the line ends of Unicode', async () => {
  const addresses = await addressesFor(2);
  const [chief, worker] = await Promise.all([join(addresses, 0), join(addresses, 1)]);
  const text = 'one\u2028two\u2029three\u0085four\r\nfive\rsix';
  const answers = await Promise.all([chief, worker].map(({ client }) => client.gather('a text', text)));
  expect(answers).toEqual([
    [text, text],
    [text, text],
  ]);
});

describe('the token of a cluster', () => {
  const token = createClusterToken();

  it('lets in the processes that know it', async () => {
    const addresses = await addressesFor(3);
    await expectWorking(await Promise.all([0, 1, 2].map((rank) => join(addresses, rank, { token }))));
  });

  it.each([
    ['a wrong one', token, `${token}0`, 'its token differs'],
    ['none', token, null, 'it has no token'],
    ['one that the chief lacks', null, token, 'the chief has no token'],
  ])('keeps out a worker with %s: both sides get an error that shows no token', async (_, chiefs, workers, how) => {
    const addresses = await addressesFor(2);
    const warnings: string[] = [];
    const warn = (message: string): void => void warnings.push(message);
    const [chief, worker] = await Promise.all([
      failureOf(join(addresses, 0, { token: chiefs, warn, timeoutSeconds: 1 })),
      failureOf(join(addresses, 1, { token: workers })),
    ]);
    expect([chief.code, worker.code]).toEqual(['CLUSTER_TOKEN_MISMATCH', 'CLUSTER_TOKEN_MISMATCH']);
    expect(worker.message).toBe(`The chief refused worker 1 (${addresses[1]}): ${how}.`);
    expect(worker.hint).toContain('WHETSTONE_CLUSTER_TOKEN');
    expect(chief.message).toBe(`Worker 1 (${addresses[1]}) did not connect with the cluster's token within 1 s.`);
    expect(warnings).toEqual([`[CLUSTER_TOKEN_MISMATCH] A connection from 127.0.0.1 was refused as worker 1: ${how}.`]);
    expect(JSON.stringify([warnings, chief, worker, chief.message, worker.message, chief.hint])).not.toContain(token);
  });

  it('keeps out a worker without ending the run', async () => {
    const addresses = await addressesFor(2);
    const chief = join(addresses, 0, { token });
    const wrong = await failureOf(join(addresses, 1, { token: createClusterToken() }));
    expect(wrong.code).toBe('CLUSTER_TOKEN_MISMATCH');
    await expectWorking(await Promise.all([chief, join(addresses, 1, { token })]));
  });

  it('is proven by the chief, too: a worker believes no other process at its address', async () => {
    const addresses = await addressesFor(2);
    const server = createServer((socket) => {
      sockets.push(socket);
      socket.on('error', () => undefined).write('{"type":"challenge","nonce":"0"}\n');
      socket.once('data', () => socket.write(`{"type":"proven","proof":"${'0'.repeat(64)}"}\n`));
    });
    await new Promise<void>((resolve) => void server.listen(Number(addresses[0]?.split(':')[1]), '127.0.0.1', resolve));
    const { code, message } = await failureOf(join(addresses, 1, { token }));
    server.close();
    expect(code).toBe('CLUSTER_TOKEN_MISMATCH');
    expect(message).toBe(`Worker 0 (${addresses[0]}) does not know the cluster's token.`);
  });

  it('comes from the environment, and must be long', () => {
    expect(clusterToken({})).toBeNull();
    expect(clusterToken({ WHETSTONE_CLUSTER_TOKEN: '' })).toBeNull();
    expect(clusterToken({ WHETSTONE_CLUSTER_TOKEN: token })).toBe(token);
    expect(() => clusterToken({ WHETSTONE_CLUSTER_TOKEN: 'hunter2' })).toThrow(
      expect.objectContaining({ code: 'CONFIG_INVALID', found: '7', message: expect.not.stringContaining('hunter2') }),
    );
  });
});
