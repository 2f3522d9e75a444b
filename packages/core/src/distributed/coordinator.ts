import type { ErrorCode } from '../contract/error-codes.js';
import type { Json } from '../contract/json.js';
import {
  createClusterToken,
  createNonce,
  isProofOf,
  proofOf,
  tokenMismatch,
  type ProofSubject,
} from './cluster-token.js';
import { MAX_LINE_BYTES, type Connection } from './connection.js';
import { PROTOCOL, type FromCoordinator, type Hello, type ToCoordinator } from './messages.js';
import { secondsNow, watch, type Timeouts } from './timeouts.js';

export interface CoordinatorOptions {
  readonly count: number;
  /** Hash of the cluster's addresses. */
  readonly cluster: string;
  readonly timeouts: Timeouts;
  /** Whether all processes are on this machine. */
  readonly isLocal?: boolean;
  /** The secret of the cluster. Without one, every process that reaches the port may join. */
  readonly token?: string | null;
  /** Is told why connections were refused. */
  readonly warn?: (message: string) => void;
  /** Returns the name of a worker for error messages. */
  nameOf(rank: number): string;
}

/**
 * The server of the cluster, in the process of rank 0. It receives the messages of all workers, answers them, and
 * decides which workers are lost.
 */
export interface Coordinator {
  /**
   * Adds a connection, on which the hello of a worker is expected.
   *
   * @param peer the other end; absent for a connection within this process, which needs no token
   */
  accept(connection: Connection<FromCoordinator, ToCoordinator>, peer?: Peer): void;
  close(): void;
}

/** The other end of a connection. */
interface Peer {
  readonly address: string;
  /** Accepts messages of up to this number of bytes. */
  trust(maxBytes: number): void;
}

interface ConnectedWorker {
  readonly hello: Hello;
  readonly connection: Connection<FromCoordinator, ToCoordinator>;
  lastHeard: number;
  left: boolean;
  stalled: string | null;
}

/** Seconds in which all waiting workers notice that an all-reduce has stalled. */
const ALL_REDUCE_STALL_GRACE = 5;

/** Connections that have not said who they are. If there are more, the oldest is closed. */
const MAX_STRANGERS = 64;
/** Seconds in which they must. */
const HELLO_SECONDS = 30;
/** Refused tokens that are reported: a port scan must not fill the terminal. */
const MAX_WARNINGS = 5;

/** Seconds that the chief waits for the other workers to leave. */
const DEPARTURE_GRACE = 10;

const capitalize = (text: string): string => `${text.charAt(0).toUpperCase()}${text.slice(1)}`;

/** The connected workers, and the phase of the run. */
interface Roster {
  readonly ranks: readonly number[];
  readonly connected: Map<number, ConnectedWorker>;
  /** Ranks in whose name connections were refused because of their token. */
  readonly withoutToken: Set<number>;
  /** Why connections were refused that had another configuration than the chief, by rank. */
  readonly conflicts: Map<number, string>;
  phase: 'joining' | 'running' | 'closing' | 'over';
  nameOf(rank: number): string;
  broadcast(message: FromCoordinator, except?: number): void;
  /** Ends the run for all workers. Only the first call has an effect. */
  fail(code: ErrorCode, message: string, details: Readonly<Record<string, Json>>, except?: number): void;
  /** Ends the run because workers are lost. `how` completes the sentence that starts with their names. */
  failLost(lost: readonly number[], how: string): void;
}

function createRoster({ count, nameOf }: CoordinatorOptions): Roster {
  const connected = new Map<number, ConnectedWorker>();
  const roster: Roster = {
    ranks: Array.from({ length: count }, (_, rank) => rank),
    connected,
    withoutToken: new Set(),
    conflicts: new Map(),
    phase: 'joining',
    nameOf,
    broadcast: (message, except) => {
      for (const [rank, { connection, left }] of connected) if (!left && rank !== except) connection.send(message);
    },
    fail: (code, message, details, except) => {
      if (roster.phase === 'over') return;
      roster.phase = 'over';
      roster.broadcast({ type: 'lost', code, message, details }, except);
    },
    failLost: (lost, how) => {
      const names = lost.map((rank, index) => (index === 0 ? capitalize(nameOf(rank)) : nameOf(rank))).join(' and ');
      roster.fail('WORKER_LOST', `${names} ${how}`, { workers: [...lost] });
    },
  };
  return roster;
}

/** The calls of `gather` that wait for values of some workers. */
interface Gathers {
  receive(rank: number, sequence: number, what: string, value: Json): void;
  /** Ends the run if a call has waited for more than these seconds. */
  failOverdue(now: number, timeoutSeconds: number): void;
}

function createGathers(roster: Roster): Gathers {
  const pendingGathers = new Map<
    number,
    { readonly what: string; readonly values: Map<number, Json>; readonly since: number }
  >();
  const { ranks, nameOf } = roster;
  return {
    receive: (rank, sequence, what, value) => {
      const pending = pendingGathers.get(sequence) ?? { what, values: new Map<number, Json>(), since: secondsNow() };
      pendingGathers.set(sequence, pending);
      if (pending.what !== what) {
        const [first = 0] = pending.values.keys();
        roster.fail(
          'WORKER_FAILED',
          `The workers are out of step: ${nameOf(first)} is at '${pending.what}', ${nameOf(rank)} at '${what}'.`,
          { workers: [first, rank] },
        );
        return;
      }
      pending.values.set(rank, value);
      if (pending.values.size < ranks.length) return;
      pendingGathers.delete(sequence);
      roster.broadcast({ type: 'gathered', sequence, values: ranks.map((each) => pending.values.get(each) ?? null) });
    },
    failOverdue: (now, timeoutSeconds) => {
      const overdue = [...pendingGathers.values()].find(({ since }) => now - since > timeoutSeconds);
      if (overdue === undefined) return;
      roster.failLost(
        ranks.filter((rank) => !overdue.values.has(rank)),
        `did not reach '${overdue.what}' within ${timeoutSeconds} s of the first worker; the others are waiting.`,
      );
    },
  };
}

/** Tells all workers that the run starts, once all are connected. */
function welcomeIfComplete(roster: Roster, isLocal: boolean): void {
  const { connected, ranks } = roster;
  if (connected.size < ranks.length) return;
  roster.phase = 'running';
  const hellos = ranks.map((rank) => connected.get(rank)?.hello);
  roster.broadcast({
    type: 'welcome',
    addresses: hellos.map((hello) => hello?.address ?? ''),
    sharingCores: hellos.map((hello) => hellos.filter((other) => other?.cores === hello?.cores).length),
    ...(isLocal ? { localSecret: createClusterToken() } : {}),
  });
}

/** Reports the workers for which a stalled all-reduce waits: those that did not report the stall themselves. */
function reportStalledWorkers({ connected, ranks, fail, failLost }: Roster, timeoutSeconds: number): void {
  const messages = [...connected.values()].flatMap(({ stalled }) => stalled ?? []);
  const missing = ranks.filter((rank) => connected.get(rank)?.stalled === null);
  if (missing.length > 0)
    return failLost(
      missing,
      `did not join the all-reduce of the gradients within ${timeoutSeconds} s, or cannot be reached.`,
    );
  fail('WORKER_LOST', `The workers cannot reach each other to sum the gradients: ${messages[0] ?? ''}`, {
    workers: [...ranks],
  });
}

/** Ends the run because a worker reported that it failed or was interrupted. */
function failBecauseOf(
  { fail, nameOf }: Roster,
  rank: number,
  { code, message }: Extract<ToCoordinator, { readonly type: 'failed' }>,
): void {
  const name = capitalize(nameOf(rank));
  if (code === 'INTERRUPTED') fail('INTERRUPTED', `${name} was interrupted.`, { workers: [rank] }, rank);
  else fail('WORKER_FAILED', `${name} failed: [${code}] ${message}`, { workers: [rank], code }, rank);
}

/** The answer to a worker that cannot join: it tries again later, or ends with an error. */
type Refusal = 'later' | readonly [code: ErrorCode, message: string];

/** Returns why a worker cannot join, or null if it can. */
function refusalOf({ connected, ranks, phase, nameOf }: Roster, { rank }: Hello, peer?: Peer): Refusal | null {
  if (connected.get(rank)?.left === true || phase === 'closing') return 'later';
  // Worker 0 is in the process of the chief.
  if (!ranks.includes(rank) || connected.has(rank) || (rank === 0 && peer !== undefined)) {
    const name = capitalize(nameOf(rank));
    return ['CONFIG_CONFLICT', `${name} is already connected: two processes were started as the same task.`];
  }
  if (phase === 'joining') return null;
  return [
    'WORKER_LOST',
    'The run has started, or ended, without this worker. Restart all workers: they resume from the last checkpoint.',
  ];
}

function refuse(connection: Connection<FromCoordinator, ToCoordinator>, refusal: Refusal): void {
  if (refusal === 'later') connection.send({ type: 'later' });
  else connection.send({ type: 'lost', code: refusal[0], message: refusal[1], details: {} });
  connection.end();
}

/** Returns how the settings of a worker differ from those of rank 0; null if they are the same. */
function conflictOf({ connected, nameOf }: Roster, { rank, settings }: Hello): string | null {
  const chief = connected.get(0)?.hello.settings ?? settings;
  const differing = Object.keys({ ...chief, ...settings }).filter((name) => chief[name] !== settings[name]);
  if (differing.length === 0) return null;
  return (
    `${capitalize(nameOf(rank))} has a configuration different from that of ${nameOf(0)}: ` +
    `${differing.join(', ')} ${differing.length === 1 ? 'differs' : 'differ'}.`
  );
}

/** Ends the run because workers did not connect in time. */
function failMissing(roster: Roster, timeoutSeconds: number): void {
  const { ranks, connected, withoutToken, conflicts, nameOf, fail, failLost } = roster;
  const missing = ranks.filter((rank) => !connected.has(rank));
  const refused = missing.filter((rank) => withoutToken.has(rank));
  const [differing] = missing.filter((rank) => conflicts.has(rank));
  if (differing !== undefined) return fail('CONFIG_CONFLICT', conflicts.get(differing) ?? '', { workers: [differing] });
  if (refused.length === 0) return failLost(missing, `did not connect within ${timeoutSeconds} s.`);
  const { code, message } = tokenMismatch(
    `${capitalize(refused.map(nameOf).join(' and '))} did not connect with the cluster's token within ` +
      `${timeoutSeconds} s.`,
  );
  fail(code, message, { workers: refused });
}

/** Sends a heartbeat, and ends the run if workers are missing, silent or waited for too long. */
function checkWorkers(roster: Roster, gathers: Gathers, now: number, waited: number, timeouts: Timeouts): void {
  const { connected, phase } = roster;
  if (phase === 'over') return;
  roster.broadcast({ type: 'heartbeat' });
  if (phase === 'joining' && waited > timeouts.timeoutSeconds) return failMissing(roster, timeouts.timeoutSeconds);
  const silent = [...connected]
    .filter(([rank, { lastHeard, left }]) => rank !== 0 && !left && now - lastHeard > timeouts.silenceSeconds)
    .map(([rank]) => rank);
  if (silent.length > 0) return roster.failLost(silent, `sent no heartbeat for ${timeouts.silenceSeconds} s.`);
  gathers.failOverdue(now, timeouts.timeoutSeconds);
}

/** Ends all connections, once the other workers have left or the grace period is over. */
function closeConnections(roster: Roster): void {
  if (roster.phase !== 'over') roster.phase = 'closing';
  const deadline = secondsNow() + DEPARTURE_GRACE;
  const finish = (): void => {
    const isWaiting = [...roster.connected].some(([rank, { left }]) => rank !== 0 && !left);
    if (isWaiting && roster.phase !== 'over' && secondsNow() < deadline) return void setTimeout(finish, 20);
    if (roster.phase !== 'over') roster.broadcast({ type: 'leave' }, 0);
    roster.phase = 'over';
    for (const { connection } of roster.connected.values()) connection.end();
  };
  finish();
}

/**
 * Returns what accepts connections: it drops those that are not from workers, asks for the proof of the token, and
 * passes the others to `admit`. Nothing that a stranger sends ends the run.
 */
function createReception(
  roster: Roster,
  { cluster, token = null }: CoordinatorOptions,
  warn: (message: string) => void,
  admit: Admit,
): Coordinator['accept'] {
  const strangers = new Set<Connection<FromCoordinator, ToCoordinator>>();
  const welcome: Admit = (connection, ...others) => {
    strangers.delete(connection);
    admit(connection, ...others);
  };
  const refuseToken = (
    connection: Connection<FromCoordinator, ToCoordinator>,
    { rank }: Hello,
    { address }: Peer,
    how: string,
  ): void => {
    if (roster.ranks.includes(rank)) roster.withoutToken.add(rank);
    const { code, message } = tokenMismatch(`The chief refused ${roster.nameOf(rank)}: ${how}.`);
    warn(`[${code}] A connection from ${address} was refused as worker ${rank}: ${how}.`);
    refuse(connection, [code, message]);
  };
  /** Admits a worker that proves that it knows the token. */
  const challenge = (
    connection: Connection<FromCoordinator, ToCoordinator>,
    hello: Hello,
    peer: Peer,
    workerNonce: string,
    secret: string,
  ): void => {
    const subject = { cluster, rank: hello.rank, chiefNonce: createNonce(), workerNonce };
    const about = (role: ProofSubject['role']): ProofSubject => ({ ...subject, role });
    connection.onMessage((message) => {
      if (message.type !== 'proof' || !isProofOf(secret, about('worker'), message.proof))
        return refuseToken(connection, hello, peer, 'its token differs');
      connection.send({ type: 'proven', proof: proofOf(secret, about('chief')) });
      welcome(connection, hello, peer);
    });
    connection.send({ type: 'challenge', nonce: subject.chiefNonce });
  };
  const greet = (connection: Connection<FromCoordinator, ToCoordinator>, hello: ToCoordinator, peer?: Peer): void => {
    if (hello.type !== 'hello' || hello.protocol !== PROTOCOL || hello.cluster !== cluster)
      return refuse(connection, [
        'CONFIG_CONFLICT',
        'This chief belongs to another cluster, or runs another version of Whetstone.',
      ]);
    if (peer === undefined) return welcome(connection, hello);
    const { nonce } = hello;
    if (token !== null && nonce !== undefined) return challenge(connection, hello, peer, nonce, token);
    if (token === null && nonce === undefined) return welcome(connection, hello, peer);
    refuseToken(connection, hello, peer, token === null ? 'the chief has no token' : 'it has no token');
  };
  return (connection, peer) => {
    strangers.add(connection);
    const [oldest] = strangers;
    if (strangers.size > MAX_STRANGERS) oldest?.destroy();
    const timer = setTimeout(() => {
      if (strangers.has(connection)) connection.destroy();
    }, HELLO_SECONDS * 1000);
    timer.unref();
    connection.onClose(() => {
      strangers.delete(connection);
      clearTimeout(timer);
    });
    connection.onMessage((message) => greet(connection, message, peer));
  };
}

/** Returns a function that passes on the first few warnings. */
function fewWarnings(warn: (message: string) => void = () => undefined): (message: string) => void {
  let warnings = 0;
  return (message) => {
    if (warnings++ < MAX_WARNINGS) warn(message);
  };
}

type Admit = (connection: Connection<FromCoordinator, ToCoordinator>, hello: Hello, peer?: Peer) => void;

/**
 * Returns what makes a worker of a connection that said hello, and passes its messages to `handle`.
 *
 * Before the run starts, a connection that proved nothing ends with itself only: the right worker may still come.
 */
function createAdmission(
  roster: Roster,
  { token = null, isLocal = false }: CoordinatorOptions,
  warn: (message: string) => void,
  handle: (rank: number, worker: ConnectedWorker, message: ToCoordinator) => void,
): Admit {
  const isUnproven = (peer?: Peer): peer is Peer => peer !== undefined && token === null && roster.phase === 'joining';
  const dismiss = (rank: number, worker: ConnectedWorker, { address }: Peer, how: string): void => {
    if (roster.connected.get(rank) !== worker) return;
    roster.connected.delete(rank);
    worker.left = true;
    worker.connection.end();
    warn(`The connection from ${address} as worker ${rank} ended before the run started: ${how}.`);
  };
  return (connection, hello, peer) => {
    const refusal = refusalOf(roster, hello, peer);
    if (refusal !== null) return refuse(connection, refusal);
    const { rank } = hello;
    const conflict = conflictOf(roster, hello);
    if (conflict !== null && isUnproven(peer)) {
      roster.conflicts.set(rank, conflict);
      warn(`[CONFIG_CONFLICT] A connection from ${peer.address} was refused: ${conflict}`);
      return refuse(connection, ['CONFIG_CONFLICT', conflict]);
    }
    const worker: ConnectedWorker = { hello, connection, lastHeard: secondsNow(), left: false, stalled: null };
    roster.connected.set(rank, worker);
    peer?.trust(MAX_LINE_BYTES);
    connection.onMessage((message) => {
      if (message.type === 'failed' && isUnproven(peer))
        dismiss(rank, worker, peer, `[${message.code}] ${message.message}`);
      else handle(rank, worker, message);
    });
    connection.onClose((reason) => {
      if (isUnproven(peer)) return dismiss(rank, worker, peer, reason);
      if (!worker.left) roster.failLost([rank], `disconnected (${reason}).`);
      worker.left = true;
    });
    if (conflict !== null) roster.fail('CONFIG_CONFLICT', conflict, { workers: [rank] });
    else welcomeIfComplete(roster, isLocal);
  };
}

export function createCoordinator(options: CoordinatorOptions): Coordinator {
  const { timeouts } = options;
  const warn = fewWarnings(options.warn);
  const roster = createRoster(options);
  const gathers = createGathers(roster);
  const started = secondsNow();
  let stallTimer: NodeJS.Timeout | null = null;

  const handleMessage = (rank: number, worker: ConnectedWorker, message: ToCoordinator): void => {
    worker.lastHeard = secondsNow();
    if (message.type === 'gather') gathers.receive(rank, message.sequence, message.what, message.value);
    else if (message.type === 'leave') worker.left = true;
    else if (message.type === 'failed') failBecauseOf(roster, rank, message);
    else if (message.type === 'allReduceStalled') {
      worker.stalled = message.message;
      stallTimer ??= setTimeout(
        () => reportStalledWorkers(roster, timeouts.timeoutSeconds),
        ALL_REDUCE_STALL_GRACE * 1000,
      );
    }
  };
  const accept = createReception(roster, options, warn, createAdmission(roster, options, warn, handleMessage));

  const watching = watch(timeouts.heartbeatSeconds, (now) =>
    checkWorkers(roster, gathers, now, now - started, timeouts),
  );

  return {
    accept,
    close: () => {
      watching.stop();
      if (stallTimer !== null) clearTimeout(stallTimer);
      closeConnections(roster);
    },
  };
}
