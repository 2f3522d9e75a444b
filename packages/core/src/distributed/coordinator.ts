import type { ErrorCode } from '../contract/error-codes.js';
import type { Json } from '../contract/json.js';
import type { Connection } from './connection.js';
import { PROTOCOL, type FromCoordinator, type Hello, type ToCoordinator } from './messages.js';
import { secondsNow, watch, type Timeouts } from './timeouts.js';

export interface CoordinatorOptions {
  readonly count: number;
  /** Hash of the cluster's addresses. */
  readonly cluster: string;
  readonly timeouts: Timeouts;
  /** Returns the name of a worker for error messages. */
  nameOf(rank: number): string;
}

/**
 * The server of the cluster, in the process of rank 0. It receives the messages of all workers, answers them, and
 * decides which workers are lost.
 */
export interface Coordinator {
  /** Adds a connection, on which the hello of a worker is expected. */
  accept(connection: Connection<FromCoordinator, ToCoordinator>): void;
  close(): void;
}

interface ConnectedWorker {
  readonly hello: Hello;
  readonly connection: Connection<FromCoordinator, ToCoordinator>;
  lastHeard: number;
  left: boolean;
  stalled: string | null;
}

interface PendingGather {
  readonly what: string;
  readonly values: Map<number, Json>;
  readonly since: number;
}

/** Seconds in which all waiting workers notice that an all-reduce has stalled. */
const ALL_REDUCE_STALL_GRACE = 5;

/** Seconds that the chief waits for the other workers to leave. */
const DEPARTURE_GRACE = 10;

export function createCoordinator({ count, cluster, timeouts, nameOf }: CoordinatorOptions): Coordinator {
  const connected = new Map<number, ConnectedWorker>();
  const pendingGathers = new Map<number, PendingGather>();
  const started = secondsNow();
  let phase: 'joining' | 'running' | 'closing' | 'over' = 'joining';
  let stallTimer: NodeJS.Timeout | null = null;

  const ranks = Array.from({ length: count }, (_, rank) => rank);
  const namesOf = (some: readonly number[]): string =>
    some.map((rank, index) => (index === 0 ? capitalize(nameOf(rank)) : nameOf(rank))).join(' and ');
  const broadcast = (message: FromCoordinator, except?: number): void => {
    for (const [rank, { connection, left }] of connected) if (!left && rank !== except) connection.send(message);
  };
  /** Ends the run for all workers. Only the first call has an effect. */
  const fail = (code: ErrorCode, message: string, details: Readonly<Record<string, Json>>, except?: number): void => {
    if (phase === 'over') return;
    phase = 'over';
    broadcast({ type: 'lost', code, message, details }, except);
  };
  const failLost = (lost: readonly number[], how: string): void =>
    fail('WORKER_LOST', `${namesOf(lost)} ${how}`, { workers: [...lost] });

  const welcome = (): void => {
    if (connected.size < count) return;
    phase = 'running';
    const hellos = ranks.map((rank) => connected.get(rank)?.hello);
    broadcast({
      type: 'welcome',
      addresses: hellos.map((hello) => hello?.address ?? ''),
      sharingCores: hellos.map((hello) => hellos.filter((other) => other?.cores === hello?.cores).length),
    });
  };

  const gather = (rank: number, sequence: number, what: string, value: Json): void => {
    const pending = pendingGathers.get(sequence) ?? { what, values: new Map<number, Json>(), since: secondsNow() };
    pendingGathers.set(sequence, pending);
    if (pending.what !== what) {
      const [first = 0] = pending.values.keys();
      fail(
        'WORKER_FAILED',
        `The workers are out of step: ${nameOf(first)} is at '${pending.what}', ${nameOf(rank)} at '${what}'.`,
        { workers: [first, rank] },
      );
      return;
    }
    pending.values.set(rank, value);
    if (pending.values.size < count) return;
    pendingGathers.delete(sequence);
    broadcast({ type: 'gathered', sequence, values: ranks.map((each) => pending.values.get(each) ?? null) });
  };

  /** Reports the workers for which a stalled all-reduce waits: those that did not report the stall themselves. */
  const reportStalledWorkers = (): void => {
    const messages = [...connected.values()].flatMap(({ stalled }) => stalled ?? []);
    const missing = ranks.filter((rank) => connected.get(rank)?.stalled === null);
    if (missing.length === 0)
      fail('WORKER_LOST', `The workers cannot reach each other to sum the gradients: ${messages[0] ?? ''}`, {
        workers: [...ranks],
      });
    else
      failLost(
        missing,
        `did not join the all-reduce of the gradients within ${timeouts.timeoutSeconds} s, or cannot be reached.`,
      );
  };

  const handleMessage = (rank: number, worker: ConnectedWorker, message: ToCoordinator): void => {
    worker.lastHeard = secondsNow();
    if (message.type === 'gather') gather(rank, message.sequence, message.what, message.value);
    else if (message.type === 'leave') worker.left = true;
    else if (message.type === 'failed') {
      if (message.code === 'INTERRUPTED')
        fail('INTERRUPTED', `${capitalize(nameOf(rank))} was interrupted.`, { workers: [rank] }, rank);
      else
        fail(
          'WORKER_FAILED',
          `${capitalize(nameOf(rank))} failed: [${message.code}] ${message.message}`,
          { workers: [rank], code: message.code },
          rank,
        );
    } else if (message.type === 'allReduceStalled') {
      worker.stalled = message.message;
      stallTimer ??= setTimeout(reportStalledWorkers, ALL_REDUCE_STALL_GRACE * 1000);
    }
  };

  const refuse = (connection: Connection<FromCoordinator, ToCoordinator>, code: ErrorCode, message: string): void => {
    connection.send({ type: 'lost', code, message, details: {} });
    connection.end();
  };

  const admit = (connection: Connection<FromCoordinator, ToCoordinator>, hello: Hello): void => {
    if (hello.type !== 'hello' || hello.cluster !== cluster || hello.protocol !== PROTOCOL)
      return refuse(
        connection,
        'CONFIG_CONFLICT',
        'This chief belongs to another cluster, or runs another version of Whetstone.',
      );
    const { rank } = hello;
    if (connected.get(rank)?.left === true || phase === 'closing') {
      connection.send({ type: 'later' });
      return connection.end();
    }
    if (!ranks.includes(rank) || connected.has(rank))
      return refuse(
        connection,
        'CONFIG_CONFLICT',
        `${capitalize(nameOf(rank))} is already connected: two processes were started as the same task.`,
      );
    if (phase !== 'joining')
      return refuse(
        connection,
        'WORKER_LOST',
        'The run has started, or ended, without this worker. Restart all workers: they resume from the last ' +
          'checkpoint.',
      );
    const worker: ConnectedWorker = { hello, connection, lastHeard: secondsNow(), left: false, stalled: null };
    connected.set(rank, worker);
    connection.onMessage((message) => handleMessage(rank, worker, message));
    connection.onClose((reason) => {
      if (!worker.left) failLost([rank], `disconnected (${reason}).`);
      worker.left = true;
    });
    const chief = connected.get(0)?.hello.settings ?? hello.settings;
    const differing = Object.keys({ ...chief, ...hello.settings }).filter(
      (name) => chief[name] !== hello.settings[name],
    );
    if (differing.length > 0)
      fail(
        'CONFIG_CONFLICT',
        `${capitalize(nameOf(rank))} has a configuration different from that of ${nameOf(0)}: ` +
          `${differing.join(', ')} ${differing.length === 1 ? 'differs' : 'differ'}.`,
        { workers: [rank] },
      );
    else welcome();
  };

  const watching = watch(timeouts.heartbeatSeconds, (now) => {
    if (phase === 'over') return;
    broadcast({ type: 'heartbeat' });
    const missing = ranks.filter((rank) => !connected.has(rank));
    if (phase === 'joining' && now - started > timeouts.timeoutSeconds)
      return failLost(missing, `did not connect within ${timeouts.timeoutSeconds} s.`);
    const silent = [...connected]
      .filter(([rank, { lastHeard, left }]) => rank !== 0 && !left && now - lastHeard > timeouts.silenceSeconds)
      .map(([rank]) => rank);
    if (silent.length > 0) return failLost(silent, `sent no heartbeat for ${timeouts.silenceSeconds} s.`);
    for (const { what, values, since } of pendingGathers.values()) {
      if (now - since > timeouts.timeoutSeconds)
        return failLost(
          ranks.filter((rank) => !values.has(rank)),
          `did not reach '${what}' within ${timeouts.timeoutSeconds} s of the first worker; the others are waiting.`,
        );
    }
  });

  return {
    accept: (connection) => {
      // Connections that send no hello are dropped.
      const helloTimer = setTimeout(() => connection.destroy(), 30_000);
      helloTimer.unref();
      connection.onMessage((message) => {
        clearTimeout(helloTimer);
        admit(connection, message as Hello);
      });
      connection.onClose(() => clearTimeout(helloTimer));
    },
    close: () => {
      watching.stop();
      if (stallTimer !== null) clearTimeout(stallTimer);
      if (phase !== 'over') phase = 'closing';
      const deadline = secondsNow() + DEPARTURE_GRACE;
      const finish = (): void => {
        const isWaiting = [...connected].some(([rank, { left }]) => rank !== 0 && !left);
        if (isWaiting && phase !== 'over' && secondsNow() < deadline) return void setTimeout(finish, 20);
        if (phase !== 'over') broadcast({ type: 'leave' }, 0);
        phase = 'over';
        for (const { connection } of connected.values()) connection.end();
      };
      finish();
    },
  };
}

const capitalize = (text: string): string => `${text.charAt(0).toUpperCase()}${text.slice(1)}`;
