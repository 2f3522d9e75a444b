import { WhetstoneError } from '../contract/errors.js';
import type { Json } from '../contract/json.js';
import type { Link } from './link.js';
import type { FromHub, Hello, ToHub } from './messages.js';
import { secondsNow, watch, type Patience } from './timing.js';

/** One process's line to the chief. Rank 0 has one too. */
export interface Member {
  /** Resolves when all processes are there, or when this one is to come again. */
  readonly welcomed: Promise<Extract<FromHub, { type: 'welcome' | 'later' }>>;
  /** Why the run cannot go on, once that is known. */
  readonly failure: WhetstoneError | null;
  gather(what: string, value: Json): Promise<readonly Json[]>;
  onFailure(listener: (failure: WhetstoneError) => void): void;
  /** Tells the others that this process failed. */
  fail(error: WhetstoneError): void;
  /** Tells the chief that a sum of tensors does not come. */
  stuck(message: string): void;
  /** Takes leave: the others do not count this process as lost. */
  leave(): void;
}

export interface MemberOptions {
  readonly hello: Hello;
  readonly patience: Patience;
  /** The chief in words. */
  readonly chief: string;
}

interface Waiting {
  readonly what: string;
  readonly since: number;
  resolve(values: readonly Json[]): void;
  reject(error: WhetstoneError): void;
}

export function createMember(link: Link<ToHub, FromHub>, { hello, patience, chief }: MemberOptions): Member {
  const waiting = new Map<number, Waiting>();
  const listeners: ((failure: WhetstoneError) => void)[] = [];
  let failure: WhetstoneError | null = null;
  let sequence = 0;
  let heard = secondsNow();
  let over = false;
  let welcome: {
    resolve(message: Extract<FromHub, { type: 'welcome' | 'later' }>): void;
    reject(error: WhetstoneError): void;
  } | null = null;
  const welcomed = new Promise<Extract<FromHub, { type: 'welcome' | 'later' }>>((resolve, reject) => {
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
    fail(lost('WORKER_LOST', `${chief.charAt(0).toUpperCase()}${chief.slice(1)} ${how}`, { workers: [0] }));

  link.onMessage((message) => {
    heard = secondsNow();
    if (message.type === 'welcome' || message.type === 'later') welcome?.resolve(message);
    else if (message.type === 'gathered') {
      waiting.get(message.sequence)?.resolve(message.values);
      waiting.delete(message.sequence);
    } else if (message.type === 'lost') fail(lost(message.code, message.message, message.details));
    else if (message.type === 'leave') loseChief('has ended.');
  });
  link.onClose((reason) => loseChief(`is gone (${reason}).`));
  const watching = watch(patience.beatSeconds, (now) => {
    link.send({ type: 'beat' });
    if (hello.rank === 0) return;
    if (now - heard > patience.silenceSeconds)
      return loseChief(`gave no sign of life for ${patience.silenceSeconds} s.`);
    // The chief names who is late; where it does not, it is late itself.
    for (const { what, since } of waiting.values())
      if (now - since > 2 * patience.timeoutSeconds)
        return loseChief(`gave no answer about '${what}' for ${2 * patience.timeoutSeconds} s.`);
  });
  link.send(hello);

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
        link.send({ type: 'gather', sequence: own, what, value });
      });
    },
    onFailure: (listener) => {
      if (failure === null) listeners.push(listener);
      else listener(failure);
    },
    fail: ({ code, message }) => link.send({ type: 'failed', code, message }),
    stuck: (message) => link.send({ type: 'stuck', message }),
    leave: () => {
      if (over) return;
      over = true;
      watching.stop();
      link.send({ type: 'leave' });
      link.end();
    },
  };
}

function lost(code: WhetstoneError['code'], message: string, details: Readonly<Record<string, Json>>): WhetstoneError {
  const hint =
    code === 'WORKER_LOST'
      ? 'Start all workers anew with training.resumeFromCheckpoint: they go on from the last checkpoint, in ' +
        'whatever number.'
      : code === 'INTERRUPTED'
        ? undefined
        : 'Its own output says more.';
  return new WhetstoneError(code, message, { details, ...(hint === undefined ? {} : { hint }) });
}
