/** The program of a worker thread. */
import { parentPort } from 'node:worker_threads';
import { buffersOf, createBlockWorker } from './block-worker.js';
import { toPlainError } from './plain-error.js';
import type { FromWorker, ToWorker } from './protocol.js';

const worker = createBlockWorker();
// Messages are handled one at a time, so that replies have the order of the requests.
let working: Promise<void> = Promise.resolve();

parentPort?.on('message', (message: ToWorker) => {
  working = working.then(async () => {
    const reply: FromWorker = await worker.handle(message).catch((error: unknown): FromWorker => ({
      type: 'refused',
      id: 'id' in message ? message.id : null,
      error: toPlainError(error),
    }));
    parentPort?.postMessage(reply, buffersOf(reply));
  });
});
