import { engine as tfjs, registerBackend } from '@tensorflow/tfjs-core';
import { messageOf } from '@whetstone/core/util';
import { engines, startFirst } from './engine-choice.js';
import { BACKEND_NAME, createWhetstoneBackend } from './register.js';
import type { WhetstoneBackend } from './recorder/backend.js';
import { smokeTestBackend } from './smoke-test.js';

/** Below every other backend: importing this package does not change the one that tfjs-core selects. */
const PRIORITY = 0;

/** Starts the best engine that works. Throws one error with every reason and the command that fetches a library. */
async function openBestEngine(): Promise<WhetstoneBackend> {
  const { started, failures } = await startFirst(engines, async ({ choose, check }) => {
    const backend = await createWhetstoneBackend((await choose({}, {})).options);
    check(backend);
    smokeTestBackend(backend);
    return backend;
  });
  const reasons = failures.map(({ candidate, error }) => `  ${candidate.name}: ${messageOf(error)}`).join('\n');
  if (started !== null) {
    // A user who named a library must learn that another one is used.
    if (failures.length > 0) console.warn(`whetstone: using the engine ${started.candidate.name}.\n${reasons}`);
    return started.value;
  }
  const error = new Error(
    `The backend whetstone found no library to compute with.\n${reasons}\n` +
      'Fetch one with: npx @whetstone/backend install cpu',
  );
  // tfjs-core prints the stack instead of the message.
  error.stack = error.message;
  throw error;
}

/** Registers the backend `whetstone`. Libraries are found and loaded by `await tf.setBackend('whetstone')`. */
export function registerLazyBackend(): void {
  if (tfjs().findBackendFactory(BACKEND_NAME) === null) registerBackend(BACKEND_NAME, openBestEngine, PRIORITY);
}
