import { engine as tfjs, Optimizer } from '@tensorflow/tfjs-core';
import { WhetstoneBackend } from '../recorder/backend.js';

let isPatched = false;

/**
 * Makes `minimize` of tfjs-core's optimizers submit the recorded operations. A training loop that never reads its loss
 * would otherwise record one endless graph, which the size limit cuts at a different operation each time.
 */
export function submitAfterMinimize(): void {
  if (isPatched) return;
  isPatched = true;
  const { minimize } = Optimizer.prototype;
  Optimizer.prototype.minimize = function minimizeAndSubmit(
    this: Optimizer,
    ...parameters: Parameters<Optimizer['minimize']>
  ) {
    const cost = minimize.apply(this, parameters);
    const backend = tfjs().backend;
    if (backend instanceof WhetstoneBackend) backend.barrier();
    return cost;
  };
}
