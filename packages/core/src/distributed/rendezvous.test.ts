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

interface Differing {
  readonly settings?: Readonly<Record<string, string>>;
  readonly timeoutSeconds?: number;
  readonly signal?: AbortSignal;
}

/** Joins as one of `addresses`; the meeting's processes are this one, several times over. */
async function join(addresses: readonly string[], rank: number, more: Differing = {}): Promise<Rendezvous> {
  const each = await joinCluster(
    { rank, count: addresses.length, addresses },
    { timeoutSeconds: 30, settings, signal: new AbortController().signal, ...more },
  );
  joined.push(each);
  return each;
}

async function meet(count: number, more: Differing = {}): Promise<Rendezvous[]> {
  const addresses = await addressesFor(count);
  return Promise.all(addresses.map((_, rank) => join(addresses, rank, more)));
}

const failureOf = (promise: Promise<unknown>): Promise<WhetstoneError> =>
  promise.then(
    () => Promise.reject(new Error('it did not fail')),
    (error: unknown) => error as WhetstoneError,
  );

describe('a meeting', () => {
  it('tells all workers the tensor addresses: a second port of the chief, else the configured ones', async () => {
    const addresses = await addressesFor(3);
    const [chief, first, second] = await Promise.all([2, 0, 1].map((rank) => join(addresses, rank)));
    for (const each of [chief, first, second]) expect(each?.cluster.addresses.slice(1)).toEqual(addresses.slice(1));
    expect(first?.cluster.addresses[0]).not.toBe(addresses[0]);
    expect(first?.cluster.addresses).toEqual(second?.cluster.addresses);
    // This one process uses the same cores three times.
    expect(chief?.cluster.sharingCores).toBe(3);
  });

  it('gathers by rank, whoever comes first, again and again', async () => {
    const all = await meet(3);
    for (let round = 0; round < 20; round++) {
      const answers = await Promise.all(
        all.toReversed().map(({ member, cluster }) => member.gather(`round ${round}`, { rank: cluster.rank, round })),
      );
      for (const answer of answers) expect(answer).toEqual([0, 1, 2].map((rank) => ({ rank, round })));
    }
  });

  it('notices where two are not at the same place', async () => {
    const [chief, other] = await meet(2);
    const failures = await Promise.all([
      failureOf(chief!.member.gather('an evaluation', 1)),
      failureOf(other!.member.gather('step 3', 1)),
    ]);
    for (const { code, message } of failures) {
      expect(code).toBe('WORKER_FAILED');
      expect(message).toContain("'an evaluation'");
      expect(message).toContain("'step 3'");
    }
  });

  it('ends all with the name of one that fails, and that one with its own error', async () => {
    const all = await meet(3);
    const waiting = [0, 2].map((rank) => failureOf(all[rank]!.member.gather('step 1', null)));
    const own = new WhetstoneErrorClass('NON_FINITE', 'The loss is not a number.');
    expect(await explainFailure(all[1]!.member, own)).toBe(own);
    for (const failure of await Promise.all(waiting)) {
      expect(failure.code).toBe('WORKER_FAILED');
      expect(failure.message).toContain('Worker 1 (127.0.0.1:');
      expect(failure.message).toContain('[NON_FINITE] The loss is not a number.');
      // What follows from it is explained by it.
      expect(
        await explainFailure(
          all[0]!.member,
          new WhetstoneErrorClass('BACKEND_FAILED', 'Collective ops is aborted by: …'),
        ),
      ).toMatchObject({ code: 'WORKER_FAILED' });
    }
  });

  it('passes an interruption on as one', async () => {
    const [chief, other] = await meet(2);
    const waiting = failureOf(chief!.member.gather('step 1', null));
    await explainFailure(other!.member, new WhetstoneErrorClass('INTERRUPTED', 'The run was left.'));
    expect((await waiting).code).toBe('INTERRUPTED');
  });

  it('counts nobody as lost who took leave', async () => {
    const [chief, other] = await meet(2);
    await Promise.all([chief, other].map((each) => each!.member.gather('the end', null)));
    other!.leave();
    chief!.leave();
    await new Promise((resolve) => {
      setTimeout(resolve, 300);
    });
    expect([chief!.member.failure, other!.member.failure]).toEqual([null, null]);
  });

  it('is held again by the same processes, whoever is quicker', async () => {
    const addresses = await addressesFor(2);
    const controller = new AbortController();
    for (let round = 0; round < 3; round++) {
      const [chief, other] = await Promise.all(
        [0, 1].map((rank) =>
          joinCluster({ rank, count: 2, addresses }, { timeoutSeconds: 30, settings, signal: controller.signal }),
        ),
      );
      await Promise.all([chief, other].map((each) => each!.member.gather(`round ${round}`, null)));
      other!.leave();
      if (round < 2) {
        // It comes again before the chief has left.
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
        expect(await Promise.all([next.member.gather('x', 0), back.member.gather('x', 1)])).toEqual([
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
    expect(refused.message).toContain('is there already');
    await chief;
  });

  it('names the part of the configuration that differs', async () => {
    const addresses = await addressesFor(2);
    const failures = await Promise.all([
      failureOf(join(addresses, 0)),
      failureOf(join(addresses, 1, { settings: { training: 'b' } })),
    ]);
    for (const { code, message } of failures) {
      expect(code).toBe('CONFIG_CONFLICT');
      expect(message).toMatch(
        /^Worker 1 \(127\.0\.0\.1:\d+\) runs another configuration than worker 0 .*: training differs\.$/,
      );
    }
  });

  it('waits for those who are missing no longer than it may, and names them', async () => {
    const addresses = await addressesFor(3);
    const failures = await Promise.all([
      failureOf(join(addresses, 0, { timeoutSeconds: 1 })),
      failureOf(join(addresses, 2, { timeoutSeconds: 1 })),
    ]);
    for (const { code, message, details } of failures) {
      expect(code).toBe('WORKER_LOST');
      expect(message).toBe(`Worker 1 (${addresses[1]}) did not come within 1 s.`);
      expect(details['workers']).toEqual([1]);
    }
  });

  it('says that the chief cannot be reached', async () => {
    const addresses = await addressesFor(2);
    const failure = await failureOf(join(addresses, 1, { timeoutSeconds: 0.5 }));
    expect(failure.code).toBe('WORKER_LOST');
    expect(failure.message).toContain(`Worker 0 (${addresses[0]}), the chief, cannot be reached`);
  });

  it('ends where it is interrupted before all are there', async () => {
    const addresses = await addressesFor(2);
    const controller = new AbortController();
    const waiting = failureOf(join(addresses, 0, { signal: controller.signal }));
    setTimeout(() => controller.abort(), 100);
    expect((await waiting).code).toBe('INTERRUPTED');
  });

  it('is not disturbed by strangers at the door', async () => {
    const addresses = await addressesFor(2);
    const chief = join(addresses, 0);
    const port = Number(addresses[0]?.split(':')[1]);
    await new Promise((resolve) => {
      setTimeout(resolve, 100);
    });
    for (const words of [
      'GET / HTTP/1.1\r\n\r\n',
      '{"type":"hello","protocol":2,"cluster":"another","rank":1}\n',
      '',
    ]) {
      const socket = connect({ port, host: '127.0.0.1' });
      socket.on('error', () => undefined);
      socket.end(words);
    }
    const other = await join(addresses, 1);
    expect(await Promise.all([(await chief).member.gather('x', 0), other.member.gather('x', 1)])).toEqual([
      [0, 1],
      [0, 1],
    ]);
  });

  it('says where the chief cannot listen', async () => {
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

describe('who is lost', () => {
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

  /** Workers 1 and up are links that the test speaks through itself. */
  function star(count: number) {
    const hub = createCoordinator({ count, cluster: 'c', timeouts, nameOf });
    const links = Array.from({ length: count }, () => {
      const [own, hubs] = localConnections<ToCoordinator, FromCoordinator>();
      hub.accept(hubs);
      return own;
    });
    const chief = createWorkerClient(links[0]!, { hello: hello(0), timeouts, chief: 'worker 0' });
    for (const [rank, link] of links.entries()) {
      if (rank > 0) {
        link.onMessage(() => undefined);
        link.send(hello(rank));
      }
    }
    return { hub, links, chief };
  }
  const beat = (link: { send(message: ToCoordinator): void }) =>
    setInterval(() => link.send({ type: 'heartbeat' }), 100);

  it('who closes the connection without leave', async () => {
    const { hub, links, chief } = star(3);
    await chief.welcomed;
    const waiting = failureOf(chief.gather('step 1', null));
    links[2]!.destroy();
    expect(await waiting).toMatchObject({
      code: 'WORKER_LOST',
      message: 'Worker 2 is gone (it was ended).',
      details: { workers: [2] },
    });
    chief.leave();
    hub.close();
  });

  it('who gives no sign of life', async () => {
    const { hub, links, chief } = star(3);
    const living = beat(links[1]!);
    const failure = await new Promise<WhetstoneError>((resolve) => {
      chief.onFailure(resolve);
    });
    clearInterval(living);
    expect(failure.message).toBe('Worker 2 gave no sign of life for 1 s.');
    chief.leave();
    hub.close();
  });

  it('who lives but does not come to where the others wait', async () => {
    const { hub, links, chief } = star(3);
    const living = [1, 2].map((rank) => beat(links[rank]!));
    await chief.welcomed;
    links[2]!.send({ type: 'gather', sequence: 0, what: 'the loss of step 7', value: null });
    const failure = await failureOf(chief.gather('the loss of step 7', null));
    for (const timer of living) clearInterval(timer);
    expect(failure.message).toBe(
      "Worker 1 did not come to 'the loss of step 7' within 1 s of the first; the others wait there.",
    );
    chief.leave();
    hub.close();
  });

  it('who does not miss the gradients that the others wait for', async () => {
    const { hub, links, chief } = star(3);
    const living = [1, 2].map((rank) => beat(links[rank]!));
    await chief.welcomed;
    links[1]!.send({ type: 'allReduceStalled', message: 'Collective has timed out' });
    const failure = (await explainFailure(
      chief,
      new WhetstoneErrorClass('BACKEND_FAILED', 'Collective ops is aborted by: Collective has timed out'),
    )) as WhetstoneError;
    for (const timer of living) clearInterval(timer);
    expect(failure.code).toBe('WORKER_LOST');
    expect(failure.message).toMatch(/^Worker 2 did not take part in summing the gradients within 1 s/);
    chief.leave();
    hub.close();
  }, 30_000);
});
