import type { Tensor } from '@tensorflow/tfjs-core';
import { fusedKernel } from './fused-kernel.js';

/**
 * `x`, but no sooner than `others` are there. A backend that records runs what is ready, and would begin all of many
 * like pieces before it ends one; this puts them one behind the other. Not differentiable. Fused kernel:
 * `WhetstoneAfter {x, after}` → [x].
 */
export function after<T extends Tensor>(x: T, others: readonly Tensor[]): T {
  return others.reduce<T>(
    (value, other) => (fusedKernel('WhetstoneAfter', { x: value, after: other })?.[0] ?? value) as T,
    x,
  );
}
