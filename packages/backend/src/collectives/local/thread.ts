/**
 * The thread of an exchange: sums continue while the main thread computes, or waits for them. It reads the gradients
 * in TensorFlow's memory, and writes the sums there.
 */
import { workerData } from 'node:worker_threads';
import { messageOf } from '@whetstone/core/util';
import koffi from 'koffi';
import { openExchange } from './exchange.js';
import type { Pieces } from './pieces.js';
import type { FromThread, Memory, ThreadData, ToThread } from './protocol.js';

/** Bytes of one view of memory. Node allows 4 GiB, and ends the process for more. */
const VIEW_BYTES = 2 ** 30;

const HEARTBEAT_MILLISECONDS = 5000;

const { options, port, answers } = workerData as ThreadData;

/** Wakes the main thread if it waits. */
function wake(): void {
  Atomics.add(answers, 0, 1);
  Atomics.notify(answers, 0);
}

function answer(message: FromThread): void {
  port.postMessage(message);
  wake();
}

// The main thread cannot see that this one has ended while it waits for a sum.
setInterval(wake, HEARTBEAT_MILLISECONDS).unref();

function piecesOf(memories: readonly Memory[]): Pieces {
  const pieces: Float32Array[] = [];
  for (const { address, bytes } of memories)
    for (let offset = 0; offset < bytes; offset += VIEW_BYTES)
      pieces.push(new Float32Array(koffi.view(address + BigInt(offset), Math.min(VIEW_BYTES, bytes - offset))));
  return pieces;
}

const exchange = await openExchange(options).catch((error: unknown) => {
  answer({ type: 'refused', message: messageOf(error) });
  return null;
});

if (exchange !== null) {
  // One sum at a time, in the order in which they were requested.
  let last: Promise<void> = Promise.resolve();
  port.on('message', (message: ToThread) => {
    if (message.type === 'abort') return exchange.abort(message.reason);
    const { id, inputs, sums } = message;
    last = last.then(async () => {
      const started = performance.now();
      try {
        await exchange.sum(piecesOf(inputs), piecesOf(sums));
        answer({ type: 'summed', id, seconds: (performance.now() - started) / 1000 });
      } catch (error) {
        answer({ type: 'failed', id, message: messageOf(error) });
      }
    });
  });
  answer({ type: 'opened' });
}
