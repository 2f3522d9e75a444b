import { engine as tfjs, registerBackend } from '@tensorflow/tfjs-core';
import {
  chooseAccelerator,
  chooseTensorflow,
  chooseXla,
  NoAcceleratorError,
  type EngineChoice,
} from './engine-choice.js';
import { BACKEND_NAME, createWhetstoneBackend } from './register.js';
import type { WhetstoneBackend } from './recorder/backend.js';
import { multiplyOnce } from './smoke-test.js';

/** Below every other backend: importing this package changes nothing until somebody asks for `whetstone`. */
const PRIORITY = 0;

const engines: readonly { readonly name: string; choose(): Promise<EngineChoice> }[] = [
  { name: 'an accelerator', choose: () => chooseAccelerator({}) },
  { name: 'tensorflow', choose: () => chooseTensorflow(null, {}) },
  { name: 'xla', choose: () => chooseXla({}) },
];

/** The best engine that works here. Throws one error with every reason and the command that helps. */
async function openBestEngine(): Promise<WhetstoneBackend> {
  const failures: string[] = [];
  for (const { name, choose } of engines) {
    try {
      const backend = await createWhetstoneBackend((await choose()).options);
      multiplyOnce(backend);
      // Whoever named a library should know that it is not the one in use.
      if (failures.length > 0) console.warn(`whetstone: computing with the engine ${name}.\n${failures.join('\n')}`);
      return backend;
    } catch (error) {
      if (!(error instanceof NoAcceleratorError))
        failures.push(`  ${name}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  const error = new Error(
    `The backend whetstone has no library to compute with.\n${failures.join('\n')}\nFetch one with: npx ` +
      'whetstone backend install cpu',
  );
  // tfjs-core prints the stack, where a user looks for the reason.
  error.stack = error.message;
  throw error;
}

/**
 * Tells tfjs-core that there is a backend `whetstone`; nothing is looked for or loaded before `await
 * tf.setBackend('whetstone')`.
 */
export function registerLazyBackend(): void {
  if (tfjs().findBackendFactory(BACKEND_NAME) === null) registerBackend(BACKEND_NAME, openBestEngine, PRIORITY);
}
