import { WhetstoneError } from '../contract/errors.js';
import type { Json } from '../contract/json.js';
import type { Connection } from './connection.js';
import type { FromCoordinator, Hello, ToCoordinator } from './messages.js';
import { secondsNow, watch, type Timeouts } from './timeouts.js';

/** One process's line to the chief. Rank 0 has one too. */
export interface WorkerClient {
  /** Resolves when all processes are there, or when this one is to come again. */
  readonly welcomed: Promise<Extract<FromCoordinator, { type: 'welcome' | 'later' }>>;
  /** Why the run cannot go on, once that is known. */
  readonly failure: WhetstoneError | null;
  gather(what: string, value: Json): Promise<readonly Json[]>;
  onFailure(listener: (failure: WhetstoneError) => void): void;
  /** Tells the others that this process failed. */
  fail(error: WhetstoneError): void;
  /** Tells the chief that a sum of tensors does not come. */
  stalled(message: string): void;
  /** Takes leave: the others do not count this process as lost. */
  leave(): void;
}

export interface WorkerClientOptions {
  readonly hello: Hello;
  readonly timeouts: Timeouts;
  /** The chief in words. */
  readonly chief: string;
}

interface PendingGather {
  readonly what: string;
  readonly since: number;
  resolve(values: readonly Json[]): void;
  reject(error: WhetstoneError): void;
}

export function createWorkerClient(
  connection: Connection<ToCoordinator, FromCoordinator>,
  { hello, timeouts, chief }: WorkerClientOptions,
): WorkerClient {
  const waiting = new Map<number, PendingGather>();
  const listeners: ((failure: WhetstoneError) => void)[] = [];
  let failure: WhetstoneError | null = null;
  let sequence = 0;
  let heard = secondsNow();
  let over = false;
  let welcome: {
    resolve(message: Extract<FromCoordinator, { type: 'welcome' | 'later' }>): void;
    reject(error: WhetstoneError): void;
  } | null = null;
  const welcomed = new Promise<Extract<FromCoordinator, { type: 'welcome' | 'later' }>>((resolve, reject) => {
    welcome = { resolve, reject };
  });
  // Whoever is not waiting for it any more is told by the next call.
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
  const loseChief = (how: string): void =>
    fail(workerLost('WORKER_LOST', `${chief.charAt(0).toUpperCase()}${chief.slice(1)} ${how}`, { workers: [0] }));

  connection.onMessage((message) => {
    heard = secondsNow();
    if (message.type === 'welcome' || message.type === 'later') welcome?.resolve(message);
    else if (message.type === 'gathered') {
      waiting.get(message.sequence)?.resolve(message.values);
      waiting.delete(message.sequence);
    } else if (message.type === 'lost') fail(workerLost(message.code, message.message, message.details));
    else if (message.type === 'leave') loseChief('has ended.');
  });
  connection.onClose((reason) => loseChief(`is gone (${reason}).`));
  const watching = watch(timeouts.heartbeatSeconds, (now) => {
    connection.send({ type: 'heartbeat' });
    if (hello.rank === 0) return;
    if (now - heard > timeouts.silenceSeconds)
      return loseChief(`gave no sign of life for ${timeouts.silenceSeconds} s.`);
    // The chief names who is late; where it does not, it is late itself.
    for (const { what, since } of waiting.values())
      if (now - since > 2 * timeouts.timeoutSeconds)
        return loseChief(`gave no answer about '${what}' for ${2 * timeouts.timeoutSeconds} s.`);
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

function workerLost(
  code: WhetstoneError['code'],
  message: string,
  details: Readonly<Record<string, Json>>,
): WhetstoneError {
  const hint =
    code === 'WORKER_LOST'
      ? 'Start all workers anew with training.resumeFromCheckpoint: they go on from the last checkpoint, in ' +
        'whatever number.'
      : code === 'INTERRUPTED'
        ? undefined
        : 'Its own output says more.';
  return new WhetstoneError(code, message, { details, ...(hint === undefined ? {} : { hint }) });
}
