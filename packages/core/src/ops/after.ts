import type { Tensor } from '@tensorflow/tfjs-core';
import { fusedKernel } from './fused-kernel.js';

/**
 * Returns `x`, but not before `others` are computed. A recording backend runs all operations that are ready, so it may
 * start many similar computations before it finishes one; this function puts them in order. Not differentiable. Fused
 * kernel: `WhetstoneAfter {x, after}` → [x].
 */
export function after<T extends Tensor>(x: T, others: readonly Tensor[]): T {
  return others.reduce<T>(
    (value, other) => (fusedKernel('WhetstoneAfter', { x: value, after: other })?.[0] ?? value) as T,
    x,
  );
}
