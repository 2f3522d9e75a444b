import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import { Worker } from 'node:worker_threads';
import type { MeasureHint } from '../report/measure.js';
import { fromPlainError } from './plain-error.js';
import type { Block, BlockResult, FirstBlockResult, FromWorker, Setup, ToWorker } from './protocol.js';
import { toError } from '@whetstone/core/util';

/** Thrown if threads cannot be used: the caller then works without them. */
export class ThreadsUnavailable extends Error {
  override readonly name = 'ThreadsUnavailable';
}

/** A worker thread, or its replacement in tests. */
export interface Thread {
  post(message: ToWorker, transfer: ArrayBuffer[]): void;
  /** Calls `listener` with every reply, and with an error if the thread ends. */
  onReply(listener: (reply: FromWorker | Error) => void): void;
  end(): void;
}

/**
 * Starts a worker thread.
 *
 * @throws `Error` if the worker's program does not exist (the package was not built)
 */
export function startThread(): Thread {
  const worker = new Worker(pathToFileURL(createRequire(import.meta.url).resolve('@whetstone/data/worker')), {
    execArgv: [],
  });
  return {
    post: (message, transfer) => worker.postMessage(message, transfer),
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

/** Worker threads with the same setup. */
export interface ThreadPool {
  readonly size: number;
  start(
    id: number,
    block: Block,
    layout: string | null,
    limit: number | null,
    hint?: MeasureHint,
  ): Promise<FirstBlockResult>;
  continue(id: number, keep: Uint8Array, base: number): Promise<BlockResult>;
  /** Forgets a block that is finished or abandoned. */
  drop(id: number): void;
  close(): void;
}

interface PoolWorker {
  readonly thread: Thread;
  readonly waiting: Map<number | 'open', { resolve(reply: FromWorker): void; reject(error: Error): void }>;
  blocks: number;
}

/**
 * Starts threads and sends them the setup.
 *
 * @param expected the hashes of tokenizer and template that each thread must report; null if nothing is tokenized
 * @throws `ThreadsUnavailable` if threads cannot be started, or if their tokenizer or template has a different hash
 * @throws `WhetstoneError` if the setup is invalid
 */
export async function openThreadPool(
  size: number,
  setup: Setup,
  expected: { readonly tokenizerHash: string | null; readonly rendererHash: string } | null,
  start: () => Thread = startThread,
): Promise<ThreadPool> {
  const workers: PoolWorker[] = [];
  const workerOf = new Map<number, PoolWorker>();
  let failed: Error | null = null;
  const close = (): void => {
    for (const { thread } of workers) thread.end();
  };
  const fail = (error: Error): void => {
    failed ??= new ThreadsUnavailable(error.message, { cause: error });
    for (const { waiting } of workers) {
      for (const { reject } of waiting.values()) reject(failed);
      waiting.clear();
    }
  };
  const ask = (
    worker: PoolWorker,
    key: number | 'open',
    message: ToWorker,
    transfer: ArrayBuffer[] = [],
  ): Promise<FromWorker> =>
    new Promise((resolve, reject) => {
      if (failed) return reject(failed);
      worker.waiting.set(key, { resolve, reject });
      try {
        worker.thread.post(message, transfer);
      } catch (error) {
        fail(error as Error);
      }
    });
  const listen = (worker: PoolWorker): void =>
    worker.thread.onReply((reply) => {
      if (reply instanceof Error) return fail(reply);
      const key = 'id' in reply && reply.id !== null ? reply.id : 'open';
      const waiting = worker.waiting.get(key);
      worker.waiting.delete(key);
      if (reply.type === 'refused') waiting?.reject(fromPlainError(reply.error));
      else waiting?.resolve(reply);
    });

  try {
    for (let index = 0; index < size; index++) {
      const worker: PoolWorker = { thread: start(), waiting: new Map(), blocks: 0 };
      workers.push(worker);
      listen(worker);
    }
    const replies = await Promise.all(workers.map((worker) => ask(worker, 'open', { type: 'open', setup })));
    const differs =
      expected !== null &&
      replies.some(
        (reply) =>
          reply.type === 'opened' &&
          (reply.tokenizerHash !== expected.tokenizerHash || reply.rendererHash !== expected.rendererHash),
      );
    if (differs)
      throw new ThreadsUnavailable(
        'The tokenizer or chat template of a worker thread differs from the configured one.',
      );
  } catch (error) {
    close();
    throw error instanceof Error && 'code' in error && String(error.code).startsWith('ERR_')
      ? new ThreadsUnavailable(error.message, { cause: error })
      : error;
  }

  return {
    size,
    async start(id, block, layout, limit, hint) {
      const worker = workerOf.get(id) ?? workers.reduce((best, one) => (one.blocks < best.blocks ? one : best));
      if (!workerOf.has(id)) worker.blocks++;
      workerOf.set(id, worker);
      // Blocks with a limit may be sent again, so they are copied.
      const transfer =
        block.kind === 'lines' && limit === null && block.bytes.buffer instanceof ArrayBuffer
          ? [block.bytes.buffer]
          : [];
      const reply = await ask(worker, id, { type: 'start', id, block, layout, limit, hint: hint ?? null }, transfer);
      if (reply.type !== 'started') throw new Error(`A worker thread replied "${reply.type}" instead of "started".`);
      return reply.result;
    },
    async continue(id, keep, base) {
      const worker = workerOf.get(id);
      if (!worker) throw new Error(`Block ${id} was never started.`);
      const reply = await ask(worker, id, { type: 'continue', id, keep, base });
      if (reply.type !== 'continued')
        throw new Error(`A worker thread replied "${reply.type}" instead of "continued".`);
      return reply.result;
    },
    drop(id) {
      const worker = workerOf.get(id);
      if (worker) worker.blocks--;
      workerOf.delete(id);
    },
    close,
  };
}
