import { setBackend, tensor1d } from '@tensorflow/tfjs-core';
import { withoutTfjsNodeNotice } from '../tfjs-patches/tfjs-node-notice.js';

/** Makes tfjs's cpu backend tfjs-core's current one. */
export async function useCpuBackend(): Promise<void> {
  await import('@tensorflow/tfjs-backend-cpu');
  await setBackend('cpu');
  withoutTfjsNodeNotice(() => tensor1d([0]).dispose());
}
