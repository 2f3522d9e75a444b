import { env, setBackend, tensor1d } from '@tensorflow/tfjs-core';

/**
 * Makes tfjs-core's plain JavaScript backend the current one. On its first write in Node it advertises tfjs-node,
 * unless tfjs is in production mode: that mode is on for this one write, and as it was before from then on.
 */
export async function useCpuBackend(): Promise<void> {
  await import('@tensorflow/tfjs-backend-cpu');
  await setBackend('cpu');
  const before = env().getBool('PROD');
  env().set('PROD', true);
  try {
    tensor1d([0]).dispose();
  } finally {
    env().set('PROD', before);
  }
}
