import { add, matMul, type Tensor2D } from '@tensorflow/tfjs-core';
import { fusedKernel } from './fused-kernel.js';
import { shapesAreStatic } from './write-slice.js';

/**
 * sum + aᵀ · b, [m, k] of [m, k], [n, m] and [n, k]: where nobody holds the sum any more it is added to in its place,
 * and little of the product is there at once. Where shapes are static the compiler sees to that. Not differentiable.
 * Fused kernel: `WhetstoneAddProduct {sum, a, b}` → [sum + aᵀ · b].
 */
export function addProduct(sum: Tensor2D, a: Tensor2D, b: Tensor2D): Tensor2D {
  const fused = shapesAreStatic() ? null : fusedKernel('WhetstoneAddProduct', { sum, a, b });
  return (fused?.[0] ?? add(sum, matMul(a, b, true, false))) as Tensor2D;
}
