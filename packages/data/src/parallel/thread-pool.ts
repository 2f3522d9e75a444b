import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import { Worker } from 'node:worker_threads';
import type { MeasureHint } from '../report/measure.js';
import { fromPlainError, toPlainError } from './plain-error.js';
import type { FirstLeg, FromWorker, Leg, Setup, ToWorker, Block } from './protocol.js';
import { toError } from '@whetstone/core/util';

/** Why threads are of no use here: the work can be done without them. */
export class ThreadsUnavailable extends Error {
  override readonly name = 'ThreadsUnavailable';
}

/** One thread, or what stands for one. */
export interface Thread {
  post(message: ToWorker, handOver: ArrayBuffer[]): void;
  /** Called with every reply, and with an error where the thread has ended. */
  onReply(listener: (reply: FromWorker | Error) => void): void;
  end(): void;
}

/** Starts a worker thread. Throws where the program that it runs is not there (sources that were never built). */
export function startThread(): Thread {
  const worker = new Worker(pathToFileURL(createRequire(import.meta.url).resolve('@whetstone/data/worker')), {
    execArgv: [],
  });
  return {
    post: (message, handOver) => worker.postMessage(message, handOver),
    onReply(listener) {
      worker.on('message', listener);
      worker.on('error', (error) => listener(toError(error)));
      worker.on('messageerror', (error) => listener(error));
      worker.on('exit', (code) => listener(new Error(`A worker thread ended with code ${code}.`)));
    },
    end() {
      worker.removeAllListeners();
      void worker.terminate();
    },
  };
}

/** The same work on this thread, for tests. */
export function startInPlace(): Thread {
  // Worker threads load this module themselves: the thread that starts them does without it.
  const worker = import('./block-worker.js').then(({ createBlockWorker }) => createBlockWorker());
  const listeners: ((reply: FromWorker | Error) => void)[] = [];
  let working: Promise<void> = Promise.resolve();
  return {
    post(message) {
      working = working.then(async () => {
        const { handle } = await worker;
        const reply = await handle(structuredClone(message)).catch((error: unknown): FromWorker => ({
          type: 'refused',
          id: 'id' in message ? message.id : null,
          error: toPlainError(error),
        }));
        for (const listener of listeners) listener(structuredClone(reply));
      });
    },
    onReply: (listener) => void listeners.push(listener),
    end: () => void listeners.splice(0),
  };
}

/** Threads that are set up alike. */
export interface ThreadPool {
  readonly size: number;
  start(id: number, block: Block, layout: string | null, limit: number | null, hint?: MeasureHint): Promise<FirstLeg>;
  continue(id: number, keep: Uint8Array, base: number): Promise<Leg>;
  /** The block will not go on. */
  drop(id: number): void;
  close(): void;
}

interface Member {
  readonly thread: Thread;
  readonly waiting: Map<number | 'open', { resolve(reply: FromWorker): void; reject(error: Error): void }>;
  blocks: number;
}

/**
 * Starts threads and sets them up.
 *
 * @param expected what tokenizer and template must be on each thread; null where nothing is tokenised
 * @throws ThreadsUnavailable where threads cannot be started, or would tokenise otherwise than this one; WhetstoneError
 *   where the setup is wrong
 */
export async function openThreadPool(
  size: number,
  setup: Setup,
  expected: { readonly tokenizerHash: string | null; readonly rendererHash: string } | null,
  start: () => Thread = startThread,
): Promise<ThreadPool> {
  const members: Member[] = [];
  const memberOf = new Map<number, Member>();
  let failed: Error | null = null;
  const close = (): void => {
    for (const { thread } of members) thread.end();
  };
  const fail = (error: Error): void => {
    failed ??= new ThreadsUnavailable(error.message, { cause: error });
    for (const { waiting } of members) {
      for (const { reject } of waiting.values()) reject(failed);
      waiting.clear();
    }
  };
  const ask = (
    member: Member,
    key: number | 'open',
    message: ToWorker,
    handOver: ArrayBuffer[] = [],
  ): Promise<FromWorker> =>
    new Promise((resolve, reject) => {
      if (failed) return reject(failed);
      member.waiting.set(key, { resolve, reject });
      try {
        member.thread.post(message, handOver);
      } catch (error) {
        fail(error as Error);
      }
    });
  const listen = (member: Member): void =>
    member.thread.onReply((reply) => {
      if (reply instanceof Error) return fail(reply);
      const key = 'id' in reply && reply.id !== null ? reply.id : 'open';
      const waiting = member.waiting.get(key);
      member.waiting.delete(key);
      if (reply.type === 'refused') waiting?.reject(fromPlainError(reply.error));
      else waiting?.resolve(reply);
    });

  try {
    for (let index = 0; index < size; index++) {
      const member: Member = { thread: start(), waiting: new Map(), blocks: 0 };
      members.push(member);
      listen(member);
    }
    const replies = await Promise.all(members.map((member) => ask(member, 'open', { type: 'open', setup })));
    const other =
      expected !== null &&
      replies.some(
        (reply) =>
          reply.type === 'opened' &&
          (reply.tokenizerHash !== expected.tokenizerHash || reply.rendererHash !== expected.rendererHash),
      );
    if (other)
      throw new ThreadsUnavailable('A thread would make another tokenizer or template than the one that is used here.');
  } catch (error) {
    close();
    throw error instanceof Error && 'code' in error && String(error.code).startsWith('ERR_')
      ? new ThreadsUnavailable(error.message, { cause: error })
      : error;
  }

  return {
    size,
    async start(id, block, layout, limit, hint) {
      const member = memberOf.get(id) ?? members.reduce((best, one) => (one.blocks < best.blocks ? one : best));
      if (!memberOf.has(id)) member.blocks++;
      memberOf.set(id, member);
      // What may be asked for again is copied instead.
      const handOver =
        block.kind === 'lines' && limit === null && block.bytes.buffer instanceof ArrayBuffer
          ? [block.bytes.buffer]
          : [];
      const reply = await ask(member, id, { type: 'start', id, block, layout, limit, hint: hint ?? null }, handOver);
      if (reply.type !== 'started') throw new Error('A thread gave another answer than was asked for.');
      return reply.leg;
    },
    async continue(id, keep, base) {
      const member = memberOf.get(id);
      if (!member) throw new Error(`Block ${id} was never started.`);
      const reply = await ask(member, id, { type: 'continue', id, keep, base });
      if (reply.type !== 'continued') throw new Error('A thread gave another answer than was asked for.');
      return reply.leg;
    },
    drop(id) {
      const member = memberOf.get(id);
      if (member) member.blocks--;
      memberOf.delete(id);
    },
    close,
  };
}
