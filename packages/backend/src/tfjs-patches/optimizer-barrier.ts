import { engine as tfjs, Optimizer } from '@tensorflow/tfjs-core';
import { WhetstoneBackend } from '../recorder/backend.js';

let isPatched = false;

/**
 * Makes tfjs-core's own optimizers end a step where a step ends: what `minimize` recorded is handed over when it
 * returns. A loop that looks at no loss would otherwise be one endless graph, cut anywhere, and none like the one
 * before.
 */
export function submitAfterMinimize(): void {
  if (isPatched) return;
  isPatched = true;
  const { minimize } = Optimizer.prototype;
  Optimizer.prototype.minimize = function minimizeAndCut(
    this: Optimizer,
    ...parameters: Parameters<Optimizer['minimize']>
  ) {
    const cost = minimize.apply(this, parameters);
    const backend = tfjs().backend;
    if (backend instanceof WhetstoneBackend) backend.barrier();
    return cost;
  };
}
