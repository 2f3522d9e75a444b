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
  /** A worker in words. */
  nameOf(rank: number): string;
}

/** The middle of the star: the process of rank 0 takes in what all say and answers all. It judges who is lost. */
export interface Coordinator {
  /** Takes in a process; its hello is still to come. */
  accept(connection: Connection<FromCoordinator, ToCoordinator>): void;
  close(): void;
}

interface ConnectedWorker {
  readonly hello: Hello;
  readonly connection: Connection<FromCoordinator, ToCoordinator>;
  heard: number;
  left: boolean;
  stalled: string | null;
}

interface PendingGather {
  readonly what: string;
  readonly values: Map<number, Json>;
  readonly since: number;
}

/** Seconds in which all that wait for a sum of tensors notice that it will not come. */
const ALL_REDUCE_STALL_GRACE = 5;

/** Seconds that the chief waits for the others to take their leave. */
const DEPARTURE_GRACE = 10;

export function createCoordinator({ count, cluster, timeouts, nameOf }: CoordinatorOptions): Coordinator {
  const members = new Map<number, ConnectedWorker>();
  const gatherings = new Map<number, PendingGather>();
  const started = secondsNow();
  let phase: 'joining' | 'running' | 'closing' | 'over' = 'joining';
  let judging: NodeJS.Timeout | null = null;

  const ranks = Array.from({ length: count }, (_, rank) => rank);
  const namesOf = (some: readonly number[]): string =>
    some.map((rank, index) => (index === 0 ? capitalize(nameOf(rank)) : nameOf(rank))).join(' and ');
  const tell = (message: FromCoordinator, except?: number): void => {
    for (const [rank, { connection, left }] of members) if (!left && rank !== except) connection.send(message);
  };
  /** Ends the run for all. The first reason is the one. */
  const fail = (code: ErrorCode, message: string, details: Readonly<Record<string, Json>>, except?: number): void => {
    if (phase === 'over') return;
    phase = 'over';
    tell({ type: 'lost', code, message, details }, except);
  };
  const lose = (lost: readonly number[], how: string): void =>
    fail('WORKER_LOST', `${namesOf(lost)} ${how}`, { workers: [...lost] });

  const welcome = (): void => {
    if (members.size < count) return;
    phase = 'running';
    const hellos = ranks.map((rank) => members.get(rank)?.hello);
    tell({
      type: 'welcome',
      addresses: hellos.map((hello) => hello?.address ?? ''),
      sharingCores: hellos.map((hello) => hellos.filter((other) => other?.cores === hello?.cores).length),
    });
  };

  const gather = (rank: number, sequence: number, what: string, value: Json): void => {
    const gathering = gatherings.get(sequence) ?? { what, values: new Map<number, Json>(), since: secondsNow() };
    gatherings.set(sequence, gathering);
    if (gathering.what !== what) {
      const [first = 0] = gathering.values.keys();
      fail(
        'WORKER_FAILED',
        `The workers do not do the same: ${nameOf(first)} is at '${gathering.what}', ${nameOf(rank)} at '${what}'.`,
        { workers: [first, rank] },
      );
      return;
    }
    gathering.values.set(rank, value);
    if (gathering.values.size < count) return;
    gatherings.delete(sequence);
    tell({ type: 'gathered', sequence, values: ranks.map((each) => gathering.values.get(each) ?? null) });
  };

  /** Some say that a sum of tensors does not come: those who do not say so are the ones who are waited for. */
  const judge = (): void => {
    const messages = [...members.values()].flatMap(({ stalled }) => stalled ?? []);
    const late = ranks.filter((rank) => members.get(rank)?.stalled === null);
    if (late.length === 0)
      fail('WORKER_LOST', `The workers cannot reach each other to sum the gradients: ${messages[0] ?? ''}`, {
        workers: [...ranks],
      });
    else
      lose(
        late,
        `did not take part in summing the gradients within ${timeouts.timeoutSeconds} s, or cannot be reached for it.`,
      );
  };

  const take = (rank: number, member: ConnectedWorker, message: ToCoordinator): void => {
    member.heard = secondsNow();
    if (message.type === 'gather') gather(rank, message.sequence, message.what, message.value);
    else if (message.type === 'leave') member.left = true;
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
      member.stalled = message.message;
      judging ??= setTimeout(judge, ALL_REDUCE_STALL_GRACE * 1000);
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
        'This is the chief of another cluster, or one of another version of Whetstone.',
      );
    const { rank } = hello;
    if (members.get(rank)?.left === true || phase === 'closing') {
      connection.send({ type: 'later' });
      return connection.end();
    }
    if (!ranks.includes(rank) || members.has(rank))
      return refuse(
        connection,
        'CONFIG_CONFLICT',
        `${capitalize(nameOf(rank))} is there already: two processes were started as the same task.`,
      );
    if (phase !== 'joining')
      return refuse(
        connection,
        'WORKER_LOST',
        'The others have begun, or ended, without this worker. Start all of them anew; they go on from the ' +
          'last checkpoint.',
      );
    const member: ConnectedWorker = { hello, connection, heard: secondsNow(), left: false, stalled: null };
    members.set(rank, member);
    connection.onMessage((message) => take(rank, member, message));
    connection.onClose((reason) => {
      if (!member.left) lose([rank], `is gone (${reason}).`);
      member.left = true;
    });
    const chief = members.get(0)?.hello.settings ?? hello.settings;
    const other = Object.keys({ ...chief, ...hello.settings }).filter((name) => chief[name] !== hello.settings[name]);
    if (other.length > 0)
      fail(
        'CONFIG_CONFLICT',
        `${capitalize(nameOf(rank))} runs another configuration than ${nameOf(0)}: ${other.join(', ')} ` +
          `${other.length === 1 ? 'differs' : 'differ'}.`,
        { workers: [rank] },
      );
    else welcome();
  };

  const watching = watch(timeouts.heartbeatSeconds, (now) => {
    if (phase === 'over') return;
    tell({ type: 'heartbeat' });
    const missing = ranks.filter((rank) => !members.has(rank));
    if (phase === 'joining' && now - started > timeouts.timeoutSeconds)
      return lose(missing, `did not come within ${timeouts.timeoutSeconds} s.`);
    const silent = [...members]
      .filter(([rank, { heard, left }]) => rank !== 0 && !left && now - heard > timeouts.silenceSeconds)
      .map(([rank]) => rank);
    if (silent.length > 0) return lose(silent, `gave no sign of life for ${timeouts.silenceSeconds} s.`);
    for (const { what, values, since } of gatherings.values()) {
      if (now - since > timeouts.timeoutSeconds)
        return lose(
          ranks.filter((rank) => !values.has(rank)),
          `did not come to '${what}' within ${timeouts.timeoutSeconds} s of the first; the others wait there.`,
        );
    }
  });

  return {
    accept: (connection) => {
      // Who says nothing is no worker.
      const silent = setTimeout(() => connection.destroy(), 30_000);
      silent.unref();
      connection.onMessage((message) => {
        clearTimeout(silent);
        admit(connection, message as Hello);
      });
      connection.onClose(() => clearTimeout(silent));
    },
    close: () => {
      watching.stop();
      if (judging !== null) clearTimeout(judging);
      if (phase !== 'over') phase = 'closing';
      const deadline = secondsNow() + DEPARTURE_GRACE;
      const finish = (): void => {
        const staying = [...members].some(([rank, { left }]) => rank !== 0 && !left);
        if (staying && phase !== 'over' && secondsNow() < deadline) return void setTimeout(finish, 20);
        if (phase !== 'over') tell({ type: 'leave' }, 0);
        phase = 'over';
        for (const { connection } of members.values()) connection.end();
      };
      finish();
    },
  };
}

const capitalize = (text: string): string => `${text.charAt(0).toUpperCase()}${text.slice(1)}`;
