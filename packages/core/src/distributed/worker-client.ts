import { WhetstoneError } from '../contract/errors.js';
import type { Json } from '../contract/json.js';
import { isProofOf, proofOf, tokenMismatch, type ProofSubject } from './cluster-token.js';
import type { Connection } from './connection.js';
import type { FromCoordinator, Hello, ToCoordinator } from './messages.js';
import { secondsNow, watch, type Timeouts } from './timeouts.js';

/** The connection of one process to the chief. Rank 0 has one, too. */
export interface WorkerClient {
  /** Resolves when all processes are connected, or when this one must connect again. */
  readonly welcomed: Promise<Extract<FromCoordinator, { type: 'welcome' | 'later' }>>;
  /** The error that ended the run, or null. */
  readonly failure: WhetstoneError | null;
  /** Resolves with the values of all workers, by rank. `what` names the point of the run. */
  gather(what: string, value: Json): Promise<readonly Json[]>;
  /** Calls `listener` when the run fails, or at once if it has failed. */
  onFailure(listener: (failure: WhetstoneError) => void): void;
  /** Reports to the other workers that this process failed. */
  fail(error: WhetstoneError): void;
  /** Reports to the chief that an all-reduce has stalled. */
  stalled(message: string): void;
  /** Disconnects. The other workers do not count this process as lost. */
  leave(): void;
}

export interface WorkerClientOptions {
  readonly hello: Hello;
  readonly timeouts: Timeouts;
  /** The name of the chief for error messages. */
  readonly chief: string;
  /** The secret of the cluster, which both sides prove to know. */
  readonly token?: string | null;
  /** Is called when the chief has proven to know the token; at once if there is none. */
  readonly onTrust?: () => void;
}

interface PendingGather {
  readonly what: string;
  readonly since: number;
  resolve(values: readonly Json[]): void;
  reject(error: WhetstoneError): void;
}

export function createWorkerClient(
  connection: Connection<ToCoordinator, FromCoordinator>,
  { hello, timeouts, chief, token = null, onTrust = () => undefined }: WorkerClientOptions,
): WorkerClient {
  const waiting = new Map<number, PendingGather>();
  const listeners: ((failure: WhetstoneError) => void)[] = [];
  let failure: WhetstoneError | null = null;
  let sequence = 0;
  let lastHeard = secondsNow();
  let over = false;
  let welcome: {
    resolve(message: Extract<FromCoordinator, { type: 'welcome' | 'later' }>): void;
    reject(error: WhetstoneError): void;
  } | null = null;
  const welcomed = new Promise<Extract<FromCoordinator, { type: 'welcome' | 'later' }>>((resolve, reject) => {
    welcome = { resolve, reject };
  });
  // A rejection without a listener is reported by the next call.
  welcomed.catch(() => undefined);

  const fail = (error: WhetstoneError): void => {
    if (failure !== null || over) return;
    failure = error;
    watching.stop();
    welcome?.reject(error);
    for (const { reject } of waiting.values()) reject(error);
    waiting.clear();
    for (const listener of listeners) listener(error);
  };
  const failLostChief = (how: string): void =>
    fail(workerLost('WORKER_LOST', `${chief.charAt(0).toUpperCase()}${chief.slice(1)} ${how}`, { workers: [0] }));

  const handleMessage = (message: FromCoordinator): void => {
    lastHeard = secondsNow();
    if (message.type === 'welcome' || message.type === 'later') welcome?.resolve(message);
    else if (message.type === 'gathered') {
      waiting.get(message.sequence)?.resolve(message.values);
      waiting.delete(message.sequence);
    } else if (message.type === 'lost') fail(workerLost(message.code, message.message, message.details));
    else if (message.type === 'leave') failLostChief('has left the run.');
  };
  const trust = (): void => {
    onTrust();
    connection.onMessage(handleMessage);
  };
  if (token === null) trust();
  else
    connection.onMessage(
      createHandshake(hello, token, {
        answer: (proof) => connection.send({ type: 'proof', proof }),
        trust,
        refuse: () => {
          fail(tokenMismatch(`${chief.charAt(0).toUpperCase()}${chief.slice(1)} does not know the cluster's token.`));
          connection.destroy();
        },
        other: handleMessage,
      }),
    );
  connection.onClose((reason) => failLostChief(`disconnected (${reason}).`));
  const watching = watch(timeouts.heartbeatSeconds, (now) => {
    connection.send({ type: 'heartbeat' });
    if (hello.rank === 0) return;
    if (now - lastHeard > timeouts.silenceSeconds)
      return failLostChief(`sent no heartbeat for ${timeouts.silenceSeconds} s.`);
    // The chief names the worker that is late. If it does not, the chief itself is late.
    for (const { what, since } of waiting.values())
      if (now - since > 2 * timeouts.timeoutSeconds)
        return failLostChief(`did not answer '${what}' within ${2 * timeouts.timeoutSeconds} s.`);
  });
  connection.send(hello);

  return {
    welcomed,
    get failure() {
      return failure;
    },
    gather: (what, value) => {
      if (failure !== null) return Promise.reject(failure);
      const own = sequence++;
      return new Promise((resolve, reject) => {
        waiting.set(own, { what, since: secondsNow(), resolve, reject });
        connection.send({ type: 'gather', sequence: own, what, value });
      });
    },
    onFailure: (listener) => {
      if (failure === null) listeners.push(listener);
      else listener(failure);
    },
    fail: ({ code, message }) => connection.send({ type: 'failed', code, message }),
    stalled: (message) => connection.send({ type: 'allReduceStalled', message }),
    leave: () => {
      if (over) return;
      over = true;
      watching.stop();
      connection.send({ type: 'leave' });
      connection.end();
    },
  };
}

/**
 * Returns the listener for the first messages of a chief: it proves to know the token, and expects the same. Only a
 * refusal is believed before that.
 */
function createHandshake(
  { cluster, rank, nonce: workerNonce = '' }: Hello,
  token: string,
  then: {
    answer(proof: string): void;
    trust(): void;
    refuse(): void;
    /** Receives refusals. */
    other(message: FromCoordinator): void;
  },
): (message: FromCoordinator) => void {
  let chiefNonce: string | null = null;
  const about = (role: ProofSubject['role']): ProofSubject => ({
    role,
    cluster,
    rank,
    chiefNonce: chiefNonce ?? '',
    workerNonce,
  });
  return (message) => {
    if (message.type === 'lost' || message.type === 'later') return then.other(message);
    if (message.type === 'challenge' && chiefNonce === null) {
      chiefNonce = message.nonce;
      return then.answer(proofOf(token, about('worker')));
    }
    const isProven =
      message.type === 'proven' && chiefNonce !== null && isProofOf(token, about('chief'), message.proof);
    if (isProven) then.trust();
    else then.refuse();
  };
}

function workerLost(
  code: WhetstoneError['code'],
  message: string,
  details: Readonly<Record<string, Json>>,
): WhetstoneError {
  const hint =
    code === 'WORKER_LOST'
      ? 'Restart the workers with training.resumeFromCheckpoint. They resume from the last checkpoint; their number ' +
        'may change.'
      : code === 'CLUSTER_TOKEN_MISMATCH'
        ? tokenMismatch('').hint
        : code === 'INTERRUPTED'
          ? undefined
          : 'See the output of that worker.';
  return new WhetstoneError(code, message, { details, hint });
}
