import type { ErrorCode } from '../contract/error-codes.js';
import type { Json } from '../contract/json.js';
import type { Link } from './link.js';
import { PROTOCOL, type FromHub, type Hello, type ToHub } from './messages.js';
import { secondsNow, watch, type Patience } from './timing.js';

export interface HubOptions {
  readonly count: number;
  /** Hash of the cluster's addresses. */
  readonly cluster: string;
  readonly patience: Patience;
  /** A worker in words. */
  nameOf(rank: number): string;
}

/** The middle of the star: the process of rank 0 takes in what all say and answers all. It judges who is lost. */
export interface Hub {
  /** Takes in a process; its hello is still to come. */
  accept(link: Link<FromHub, ToHub>): void;
  close(): void;
}

interface Member {
  readonly hello: Hello;
  readonly link: Link<FromHub, ToHub>;
  heard: number;
  left: boolean;
  stuck: string | null;
}

interface Gathering {
  readonly what: string;
  readonly values: Map<number, Json>;
  readonly since: number;
}

/** Seconds in which all that wait for a sum of tensors notice that it will not come. */
const STUCK_GRACE = 5;

/** Seconds that the chief waits for the others to take their leave. */
const LEAVING_GRACE = 10;

export function createHub({ count, cluster, patience, nameOf }: HubOptions): Hub {
  const members = new Map<number, Member>();
  const gatherings = new Map<number, Gathering>();
  const started = secondsNow();
  let phase: 'joining' | 'running' | 'closing' | 'over' = 'joining';
  let judging: NodeJS.Timeout | null = null;

  const ranks = Array.from({ length: count }, (_, rank) => rank);
  const namesOf = (some: readonly number[]): string =>
    some.map((rank, index) => (index === 0 ? capital(nameOf(rank)) : nameOf(rank))).join(' and ');
  const tell = (message: FromHub, except?: number): void => {
    for (const [rank, { link, left }] of members) if (!left && rank !== except) link.send(message);
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
    const messages = [...members.values()].flatMap(({ stuck }) => stuck ?? []);
    const late = ranks.filter((rank) => members.get(rank)?.stuck === null);
    if (late.length === 0)
      fail('WORKER_LOST', `The workers cannot reach each other to sum the gradients: ${messages[0] ?? ''}`, {
        workers: [...ranks],
      });
    else
      lose(
        late,
        `did not take part in summing the gradients within ${patience.timeoutSeconds} s, or cannot be reached for it.`,
      );
  };

  const take = (rank: number, member: Member, message: ToHub): void => {
    member.heard = secondsNow();
    if (message.type === 'gather') gather(rank, message.sequence, message.what, message.value);
    else if (message.type === 'leave') member.left = true;
    else if (message.type === 'failed') {
      if (message.code === 'INTERRUPTED')
        fail('INTERRUPTED', `${capital(nameOf(rank))} was interrupted.`, { workers: [rank] }, rank);
      else
        fail(
          'WORKER_FAILED',
          `${capital(nameOf(rank))} failed: [${message.code}] ${message.message}`,
          { workers: [rank], code: message.code },
          rank,
        );
    } else if (message.type === 'stuck') {
      member.stuck = message.message;
      judging ??= setTimeout(judge, STUCK_GRACE * 1000);
    }
  };

  const refuse = (link: Link<FromHub, ToHub>, code: ErrorCode, message: string): void => {
    link.send({ type: 'lost', code, message, details: {} });
    link.end();
  };

  const admit = (link: Link<FromHub, ToHub>, hello: Hello): void => {
    if (hello.type !== 'hello' || hello.cluster !== cluster || hello.protocol !== PROTOCOL)
      return refuse(
        link,
        'CONFIG_CONFLICT',
        'This is the chief of another cluster, or one of another version of Whetstone.',
      );
    const { rank } = hello;
    if (members.get(rank)?.left === true || phase === 'closing') {
      link.send({ type: 'later' });
      return link.end();
    }
    if (!ranks.includes(rank) || members.has(rank))
      return refuse(
        link,
        'CONFIG_CONFLICT',
        `${capital(nameOf(rank))} is there already: two processes were started as the same task.`,
      );
    if (phase !== 'joining')
      return refuse(
        link,
        'WORKER_LOST',
        'The others have begun, or ended, without this worker. Start all of them anew; they go on from the ' +
          'last checkpoint.',
      );
    const member: Member = { hello, link, heard: secondsNow(), left: false, stuck: null };
    members.set(rank, member);
    link.onMessage((message) => take(rank, member, message));
    link.onClose((reason) => {
      if (!member.left) lose([rank], `is gone (${reason}).`);
      member.left = true;
    });
    const chief = members.get(0)?.hello.settings ?? hello.settings;
    const other = Object.keys({ ...chief, ...hello.settings }).filter((name) => chief[name] !== hello.settings[name]);
    if (other.length > 0)
      fail(
        'CONFIG_CONFLICT',
        `${capital(nameOf(rank))} runs another configuration than ${nameOf(0)}: ${other.join(', ')} ` +
          `${other.length === 1 ? 'differs' : 'differ'}.`,
        { workers: [rank] },
      );
    else welcome();
  };

  const watching = watch(patience.beatSeconds, (now) => {
    if (phase === 'over') return;
    tell({ type: 'beat' });
    const missing = ranks.filter((rank) => !members.has(rank));
    if (phase === 'joining' && now - started > patience.timeoutSeconds)
      return lose(missing, `did not come within ${patience.timeoutSeconds} s.`);
    const silent = [...members]
      .filter(([rank, { heard, left }]) => rank !== 0 && !left && now - heard > patience.silenceSeconds)
      .map(([rank]) => rank);
    if (silent.length > 0) return lose(silent, `gave no sign of life for ${patience.silenceSeconds} s.`);
    for (const { what, values, since } of gatherings.values()) {
      if (now - since > patience.timeoutSeconds)
        return lose(
          ranks.filter((rank) => !values.has(rank)),
          `did not come to '${what}' within ${patience.timeoutSeconds} s of the first; the others wait there.`,
        );
    }
  });

  return {
    accept: (link) => {
      // Who says nothing is no worker.
      const silent = setTimeout(() => link.destroy(), 30_000);
      silent.unref();
      link.onMessage((message) => {
        clearTimeout(silent);
        admit(link, message as Hello);
      });
      link.onClose(() => clearTimeout(silent));
    },
    close: () => {
      watching.stop();
      if (judging !== null) clearTimeout(judging);
      if (phase !== 'over') phase = 'closing';
      const deadline = secondsNow() + LEAVING_GRACE;
      const finish = (): void => {
        const staying = [...members].some(([rank, { left }]) => rank !== 0 && !left);
        if (staying && phase !== 'over' && secondsNow() < deadline) return void setTimeout(finish, 20);
        if (phase !== 'over') tell({ type: 'leave' }, 0);
        phase = 'over';
        for (const { link } of members.values()) link.end();
      };
      finish();
    },
  };
}

const capital = (text: string): string => `${text.charAt(0).toUpperCase()}${text.slice(1)}`;
