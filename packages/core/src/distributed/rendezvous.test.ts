import { connect, createServer } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import type { WhetstoneError } from '../contract/errors.js';
import { WhetstoneError as WhetstoneErrorClass } from '../contract/errors.js';
import { freePort, joinCluster, type Rendezvous } from './rendezvous.js';
import { createWorkerClient } from './worker-client.js';
import { createCoordinator } from './coordinator.js';
import { localConnections } from './connection.js';
import { PROTOCOL, type FromCoordinator, type ToCoordinator } from './messages.js';
import { explainFailure } from './workers.js';

const settings = { training: 'a' };
const joined: Rendezvous[] = [];
afterEach(() => {
  for (const each of joined.splice(0)) each.leave();
});

async function addressesFor(count: number): Promise<string[]> {
  const ports = new Set<number>();
  while (ports.size < count) ports.add(await freePort('127.0.0.1'));
  return [...ports].map((port) => `127.0.0.1:${port}`);
}

interface JoinChanges {
  readonly settings?: Readonly<Record<string, string>>;
  readonly timeoutSeconds?: number;
  readonly signal?: AbortSignal;
  readonly token?: string;
}

/** Joins the cluster as one of `addresses`. All workers run in this process. */
async function join(addresses: readonly string[], rank: number, more: JoinChanges = {}): Promise<Rendezvous> {
  const each = await joinCluster(
    { rank, count: addresses.length, addresses },
    { timeoutSeconds: 30, settings, signal: new AbortController().signal, ...more },
  );
  joined.push(each);
  return each;
}

async function joinAll(count: number, more: JoinChanges = {}): Promise<Rendezvous[]> {
  const addresses = await addressesFor(count);
  return Promise.all(addresses.map((_, rank) => join(addresses, rank, more)));
}

const failureOf = (promise: Promise<unknown>): Promise<WhetstoneError> =>
  promise.then(
    () => Promise.reject(new Error('it did not fail')),
    (error: unknown) => error as WhetstoneError,
  );

describe('joinCluster', () => {
  it('sends all workers the tensor addresses: a second port of the chief, the configured ones of others', async () => {
    const addresses = await addressesFor(3);
    const [chief, first, second] = await Promise.all([2, 0, 1].map((rank) => join(addresses, rank)));
    for (const each of [chief, first, second]) expect(each?.cluster.addresses.slice(1)).toEqual(addresses.slice(1));
    expect(first?.cluster.addresses[0]).not.toBe(addresses[0]);
    expect(first?.cluster.addresses).toEqual(second?.cluster.addresses);
    // All three workers run in this process, on the same cores.
    expect(chief?.cluster.sharingCores).toBe(3);
  });

  it('gathers values by rank, in any order of arrival', async () => {
    const all = await joinAll(3);
    for (let round = 0; round < 20; round++) {
      const answers = await Promise.all(
        all.toReversed().map(({ client, cluster }) => client.gather(`round ${round}`, { rank: cluster.rank, round })),
      );
      for (const answer of answers) expect(answer).toEqual([0, 1, 2].map((rank) => ({ rank, round })));
    }
  });

  it('reports workers that are out of step', async () => {
    const [chief, other] = await joinAll(2);
    const failures = await Promise.all([
      failureOf(chief!.client.gather('an evaluation', 1)),
      failureOf(other!.client.gather('step 3', 1)),
    ]);
    for (const { code, message } of failures) {
      expect(code).toBe('WORKER_FAILED');
      expect(message).toContain("'an evaluation'");
      expect(message).toContain("'step 3'");
    }
  });

  it('ends all workers with the name of the one that failed, and that one with its own error', async () => {
    const all = await joinAll(3);
    const waiting = [0, 2].map((rank) => failureOf(all[rank]!.client.gather('step 1', null)));
    const own = new WhetstoneErrorClass('NON_FINITE', 'The loss is not a number.');
    expect(await explainFailure(all[1]!.client, own)).toBe(own);
    for (const failure of await Promise.all(waiting)) {
      expect(failure.code).toBe('WORKER_FAILED');
      expect(failure.message).toContain('Worker 1 (127.0.0.1:');
      expect(failure.message).toContain('[NON_FINITE] The loss is not a number.');
      // An all-reduce that fails as a consequence is explained by the original error.
      expect(
        await explainFailure(
          all[0]!.client,
          new WhetstoneErrorClass('BACKEND_FAILED', 'Collective ops is aborted by: …'),
        ),
      ).toMatchObject({ code: 'WORKER_FAILED' });
    }
  });

  it('reports an interruption to the other workers as an interruption', async () => {
    const [chief, other] = await joinAll(2);
    const waiting = failureOf(chief!.client.gather('step 1', null));
    await explainFailure(other!.client, new WhetstoneErrorClass('INTERRUPTED', 'The run was left.'));
    expect((await waiting).code).toBe('INTERRUPTED');
  });

  it('does not count a worker that has left as lost', async () => {
    const [chief, other] = await joinAll(2);
    await Promise.all([chief, other].map((each) => each!.client.gather('the end', null)));
    other!.leave();
    chief!.leave();
    await new Promise((resolve) => {
      setTimeout(resolve, 300);
    });
    expect([chief!.client.failure, other!.client.failure]).toEqual([null, null]);
  });

  it('can be repeated in the same processes, in any order of arrival', async () => {
    const addresses = await addressesFor(2);
    const controller = new AbortController();
    for (let round = 0; round < 3; round++) {
      const [chief, other] = await Promise.all(
        [0, 1].map((rank) =>
          joinCluster({ rank, count: 2, addresses }, { timeoutSeconds: 30, settings, signal: controller.signal }),
        ),
      );
      await Promise.all([chief, other].map((each) => each!.client.gather(`round ${round}`, null)));
      other!.leave();
      if (round < 2) {
        // The worker joins again before the chief has left.
        const again = joinCluster(
          { rank: 1, count: 2, addresses },
          { timeoutSeconds: 30, settings, signal: controller.signal },
        );
        await new Promise((resolve) => {
          setTimeout(resolve, 200);
        });
        chief!.leave();
        const next = await joinCluster(
          { rank: 0, count: 2, addresses },
          { timeoutSeconds: 30, settings, signal: controller.signal },
        );
        const back = await again;
        expect(await Promise.all([next.client.gather('x', 0), back.client.gather('x', 1)])).toEqual([
          [0, 1],
          [0, 1],
        ]);
        back.leave();
        next.leave();
      } else chief!.leave();
    }
  });

  it('refuses a second process of the same rank', async () => {
    const addresses = await addressesFor(2);
    const first = failureOf(join(addresses, 1, { timeoutSeconds: 3 }));
    const second = failureOf(join(addresses, 1, { timeoutSeconds: 3 }));
    const chief = join(addresses, 0).catch(() => null);
    const refused = await Promise.any([first, second]);
    expect(refused.code).toBe('CONFIG_CONFLICT');
    expect(refused.message).toContain('is already connected');
    await chief;
  });

  it.each([
    ['at once if the workers have a token', { token: 'a'.repeat(32) }, 30],
    ['after the timeout without a token', {}, 1],
  ])('names the configuration section that differs, %s', async (_, token, timeoutSeconds) => {
    const addresses = await addressesFor(2);
    const failures = await Promise.all([
      failureOf(join(addresses, 0, { ...token, timeoutSeconds })),
      failureOf(join(addresses, 1, { ...token, settings: { training: 'b' } })),
    ]);
    for (const { code, message } of failures) {
      expect(code).toBe('CONFIG_CONFLICT');
      expect(message).toMatch(
        /^Worker 1 \(127\.0\.0\.1:\d+\) has a configuration different from that of worker 0 .*: training differs\.$/,
      );
    }
  });

  it('fails after the timeout and names the missing workers', async () => {
    const addresses = await addressesFor(3);
    const failures = await Promise.all([
      failureOf(join(addresses, 0, { timeoutSeconds: 1 })),
      failureOf(join(addresses, 2, { timeoutSeconds: 1 })),
    ]);
    for (const { code, message, details } of failures) {
      expect(code).toBe('WORKER_LOST');
      expect(message).toBe(`Worker 1 (${addresses[1]}) did not connect within 1 s.`);
      expect(details['workers']).toEqual([1]);
    }
  });

  it('fails if the chief cannot be reached', async () => {
    const addresses = await addressesFor(2);
    const failure = await failureOf(join(addresses, 1, { timeoutSeconds: 0.5 }));
    expect(failure.code).toBe('WORKER_LOST');
    expect(failure.message).toContain(`Worker 0 (${addresses[0]}), the chief, cannot be reached`);
  });

  it('can be interrupted while it waits for workers', async () => {
    const addresses = await addressesFor(2);
    const controller = new AbortController();
    const waiting = failureOf(join(addresses, 0, { signal: controller.signal }));
    setTimeout(() => controller.abort(), 100);
    expect((await waiting).code).toBe('INTERRUPTED');
  });

  it('ignores connections that are not from workers', async () => {
    const addresses = await addressesFor(2);
    const chief = join(addresses, 0);
    const port = Number(addresses[0]?.split(':')[1]);
    await new Promise((resolve) => {
      setTimeout(resolve, 100);
    });
    for (const text of ['GET / HTTP/1.1\r\n\r\n', '{"type":"hello","protocol":2,"cluster":"another","rank":1}\n', '']) {
      const socket = connect({ port, host: '127.0.0.1' });
      socket.on('error', () => undefined);
      socket.end(text);
    }
    const other = await join(addresses, 1);
    expect(await Promise.all([(await chief).client.gather('x', 0), other.client.gather('x', 1)])).toEqual([
      [0, 1],
      [0, 1],
    ]);
  });

  it('fails if the port of the chief is taken', async () => {
    const addresses = await addressesFor(2);
    const taken = createServer();
    await new Promise<void>((resolve) => {
      taken.listen(Number(addresses[0]?.split(':')[1]), '127.0.0.1', resolve);
    });
    const failure = await failureOf(join(addresses, 0));
    taken.close();
    expect(failure.code).toBe('BACKEND_UNAVAILABLE');
    expect(failure.message).toContain('EADDRINUSE');
  });
});

describe('createCoordinator reports as lost a worker', () => {
  const timeouts = { timeoutSeconds: 1, heartbeatSeconds: 0.1, silenceSeconds: 1 };
  const nameOf = (rank: number): string => `worker ${rank}`;
  const hello = (rank: number) => ({
    type: 'hello' as const,
    protocol: PROTOCOL,
    cluster: 'c',
    rank,
    settings: {},
    cores: String(rank),
    address: `h:${rank}`,
  });

  /** Connects `count` workers. Only worker 0 has a client: the test sends the messages of the others itself. */
  function connectWorkers(count: number) {
    const coordinator = createCoordinator({ count, cluster: 'c', timeouts, nameOf });
    const connections = Array.from({ length: count }, () => {
      const [own, far] = localConnections<ToCoordinator, FromCoordinator>();
      coordinator.accept(far);
      return own;
    });
    const chief = createWorkerClient(connections[0]!, { hello: hello(0), timeouts, chief: 'worker 0' });
    for (const [rank, connection] of connections.entries()) {
      if (rank > 0) {
        connection.onMessage(() => undefined);
        connection.send(hello(rank));
      }
    }
    return { coordinator, connections, chief };
  }
  const sendHeartbeats = (connection: { send(message: ToCoordinator): void }) =>
    setInterval(() => connection.send({ type: 'heartbeat' }), 100);

  it('that disconnects without leaving', async () => {
    const { coordinator, connections, chief } = connectWorkers(3);
    await chief.welcomed;
    const waiting = failureOf(chief.gather('step 1', null));
    connections[2]!.destroy();
    expect(await waiting).toMatchObject({
      code: 'WORKER_LOST',
      message: 'Worker 2 disconnected (the connection was closed).',
      details: { workers: [2] },
    });
    chief.leave();
    coordinator.close();
  });

  it('that sends no heartbeat', async () => {
    const { coordinator, connections, chief } = connectWorkers(3);
    const heartbeats = sendHeartbeats(connections[1]!);
    const failure = await new Promise<WhetstoneError>((resolve) => {
      chief.onFailure(resolve);
    });
    clearInterval(heartbeats);
    expect(failure.message).toBe('Worker 2 sent no heartbeat for 1 s.');
    chief.leave();
    coordinator.close();
  });

  it('that is alive but does not reach the point at which the others wait', async () => {
    const { coordinator, connections, chief } = connectWorkers(3);
    const heartbeats = [1, 2].map((rank) => sendHeartbeats(connections[rank]!));
    await chief.welcomed;
    connections[2]!.send({ type: 'gather', sequence: 0, what: 'the loss of step 7', value: null });
    const failure = await failureOf(chief.gather('the loss of step 7', null));
    for (const timer of heartbeats) clearInterval(timer);
    expect(failure.message).toBe(
      "Worker 1 did not reach 'the loss of step 7' within 1 s of the first worker; the others are waiting.",
    );
    chief.leave();
    coordinator.close();
  });

  it('that does not report an all-reduce as stalled while others do', async () => {
    const { coordinator, connections, chief } = connectWorkers(3);
    const heartbeats = [1, 2].map((rank) => sendHeartbeats(connections[rank]!));
    await chief.welcomed;
    connections[1]!.send({ type: 'allReduceStalled', message: 'Collective has timed out' });
    const failure = (await explainFailure(
      chief,
      new WhetstoneErrorClass('BACKEND_FAILED', 'Collective ops is aborted by: Collective has timed out'),
    )) as WhetstoneError;
    for (const timer of heartbeats) clearInterval(timer);
    expect(failure.code).toBe('WORKER_LOST');
    expect(failure.message).toMatch(/^Worker 2 did not join the all-reduce of the gradients within 1 s/);
    chief.leave();
    coordinator.close();
  }, 30_000);
});
