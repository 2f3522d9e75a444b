import { expect, it } from 'vitest';
import { startLocalExchange } from './local-exchange.js';

const options = { rank: 0, addresses: ['127.0.0.1:1', '127.0.0.1:2'], secret: 'secret', timeoutSeconds: 20 };

/** A thread that listens, and does `then` when a sum is requested. */
const threadThat = (then: string): URL =>
  new URL(
    `data:text/javascript,${encodeURIComponent(
      `import { workerData } from 'node:worker_threads';
       workerData.port.on('message', () => { ${then} });
       workerData.port.postMessage({ type: 'opened' });`,
    )}`,
  );

it.each([
  ['ends', 'process.exit()'],
  ['is blocked', 'Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);'],
])('a thread that %s fails the sum that this thread waits for', async (_, then) => {
  const exchange = startLocalExchange(options, { file: threadThat(then), silence: 200 });
  await exchange.opened;
  const sum = exchange.start([], []);
  expect(() => sum.wait()).toThrow('its thread does not answer');
  await sum.ended;
  expect(() => exchange.start([], []).wait()).toThrow('its thread does not answer');
});

it('a thread with a heartbeat may take longer than the time without one', async () => {
  const busy = `
    const { port, answers } = workerData;
    const timer = setInterval(() => { Atomics.add(answers, 0, 1); Atomics.notify(answers, 0); }, 20);
    setTimeout(() => { clearInterval(timer); port.postMessage({ type: 'summed', id: 0, seconds: 7 }); }, 600);`;
  const exchange = startLocalExchange(options, { file: threadThat(busy), silence: 200 });
  await exchange.opened;
  expect(exchange.start([], []).wait()).toBe(7);
});
