import { add, matMul, type Tensor2D } from '@tensorflow/tfjs-core';
import { fusedKernel } from './fused-kernel.js';
import { shapesAreStatic } from './write-slice.js';

/**
 * Returns sum + aᵀ · b, [m, k] of [m, k], [n, m] and [n, k]. Not differentiable.
 *
 * The fused kernel updates the sum in place if it has no other references, and needs little memory for the product. For
 * static shapes, the compiler does this. Fused kernel: `WhetstoneAddProduct {sum, a, b}` → [sum + aᵀ · b].
 */
export function addProduct(sum: Tensor2D, a: Tensor2D, b: Tensor2D): Tensor2D {
  const fused = shapesAreStatic() ? null : fusedKernel('WhetstoneAddProduct', { sum, a, b });
  return (fused?.[0] ?? add(sum, matMul(a, b, true, false))) as Tensor2D;
}
