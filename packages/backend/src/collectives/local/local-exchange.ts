import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import { MessageChannel, receiveMessageOnPort, Worker } from 'node:worker_threads';
import { WhetstoneError } from '@whetstone/core/contract';
import { ALL_REDUCE_KERNEL } from '../all-reduce-kernel.js';
import type { ExchangeOptions } from './exchange.js';
import type { FromThread, Memory, ThreadData, ToThread } from './protocol.js';

/** A sum under way. */
export interface PendingSum {
  /** Resolves when it has ended, successfully or not. */
  readonly ended: Promise<void>;
  /**
   * Blocks this thread until it has ended. Returns the seconds that it took.
   *
   * @throws `BACKEND_FAILED`
   */
  wait(): number;
}

/** The exchange of a process with the others on this machine, in a thread of its own. */
export interface LocalExchange {
  /**
   * Resolves when the process listens for the others.
   *
   * @throws `BACKEND_UNAVAILABLE` if its address is in use
   */
  readonly opened: Promise<void>;
  /** Starts to sum the numbers of all processes into `sums`. The memory must be kept until it has ended. */
  start(inputs: readonly Memory[], sums: readonly Memory[]): PendingSum;
  /** Makes the current sum and all later ones fail. */
  abort(reason: string): void;
}

type Outcome = Extract<FromThread, { readonly type: 'summed' | 'failed' }>;

const threadFile = (): URL => pathToFileURL(createRequire(import.meta.url).resolve('@whetstone/backend/exchange'));

/** How a thread is started and watched. */
interface ThreadOptions {
  /** The program of the thread. */
  readonly file?: URL;
  /** The time after which a thread without a heartbeat counts as dead, in milliseconds. */
  readonly silence?: number;
}

/** Starts the thread of an exchange. It ends with the process. */
export function startLocalExchange(
  options: ExchangeOptions,
  { file = threadFile(), silence = 60_000 }: ThreadOptions = {},
): LocalExchange {
  const answers = new Int32Array(new SharedArrayBuffer(4));
  const { port1: port, port2: far } = new MessageChannel();
  const workerData: ThreadData = { options, port: far, answers };
  const worker = new Worker(file, { execArgv: [], workerData, transferList: [far] });
  worker.unref();
  const outcomes = new Map<number, Outcome>();
  const listeners = new Map<number, () => void>();
  let next = 0;
  let ended: string | null = null;
  let settleOpening: (failure: string | null) => void = () => undefined;
  const opened = new Promise<void>((resolve, reject) => {
    settleOpening = (failure) => {
      if (failure === null) return resolve();
      reject(
        new WhetstoneError(
          'BACKEND_UNAVAILABLE',
          `The server of gradients at ${options.addresses[options.rank] ?? 'no address'} could not start: ${failure}`,
          { hint: 'Check that no other process uses the port.' },
        ),
      );
    };
  });
  // Whoever starts the engine awaits it.
  opened.catch(() => undefined);

  const letEventLoopEnd = (): void => {
    if (listeners.size === 0) port.unref();
  };
  const settle = (outcome: Outcome): void => {
    outcomes.set(outcome.id, outcome);
    listeners.get(outcome.id)?.();
    listeners.delete(outcome.id);
    letEventLoopEnd();
  };
  const receive = (message: FromThread): void => {
    if (message.type === 'opened') {
      settleOpening(null);
      letEventLoopEnd();
    } else if (message.type === 'refused') endWith(message.message);
    else settle(message);
  };
  const endWith = (message: string): void => {
    ended ??= message;
    settleOpening(ended);
    letEventLoopEnd();
    for (const id of listeners.keys()) settle({ type: 'failed', id, message: ended });
  };
  port.on('message', receive);
  worker.on('error', (error) => endWith(error.message));
  worker.on('exit', () => endWith('its thread has ended'));
  const post = (message: ToThread): void => port.postMessage(message);

  return {
    opened,
    start: (inputs, sums) => {
      const id = next++;
      const done = new Promise<void>((resolve) => listeners.set(id, resolve));
      // The event loop must not end before the sum.
      port.ref();
      if (ended === null) post({ type: 'sum', id, inputs, sums });
      else settle({ type: 'failed', id, message: ended });
      let outcome: Outcome | undefined;
      return {
        ended: done,
        wait: () => {
          // The event that the thread has ended does not arrive while this one waits. A process that was stopped may
          // find that the time is over before the thread can continue, so the thread has half of it twice.
          for (let silences = 0; ;) {
            outcome ??= outcomes.get(id);
            outcomes.delete(id);
            if (outcome !== undefined) return secondsOf(outcome);
            const count = Atomics.load(answers, 0);
            const received = receiveMessageOnPort(port) as { readonly message: FromThread } | undefined;
            if (received !== undefined) receive(received.message);
            else if (Atomics.wait(answers, 0, count, silence / 2) !== 'timed-out') silences = 0;
            else if (++silences === 2) endWith('its thread does not answer');
          }
        },
      };
    },
    abort: (reason) => post({ type: 'abort', reason }),
  };
}

/** Returns the seconds of a sum, or throws why it failed, as TensorFlow's own all-reduce does. */
function secondsOf(outcome: Outcome): number {
  if (outcome.type === 'summed') return outcome.seconds;
  throw new WhetstoneError('BACKEND_FAILED', `${ALL_REDUCE_KERNEL} failed: ${outcome.message}.`, {
    details: { operation: ALL_REDUCE_KERNEL },
  });
}
