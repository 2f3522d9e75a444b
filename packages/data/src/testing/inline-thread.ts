import { createBlockWorker } from '../parallel/block-worker.js';
import { toPlainError } from '../parallel/plain-error.js';
import type { FromWorker } from '../parallel/protocol.js';
import type { Thread } from '../parallel/thread-pool.js';

/** Returns a `Thread` that works on the calling thread, for tests. */
export function startInline(): Thread {
  const { handle } = createBlockWorker();
  const listeners: ((reply: FromWorker | Error) => void)[] = [];
  let working: Promise<void> = Promise.resolve();
  return {
    post(message) {
      working = working.then(async () => {
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
