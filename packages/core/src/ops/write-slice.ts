import { backend, concat, engine, slice, type Tensor4D } from '@tensorflow/tfjs-core';
import { fusedKernel } from './fused-kernel.js';

/**
 * Returns whether the current backend compiles a graph for each shape. A tensor that grows with each step should then
 * grow in larger increments.
 */
export function shapesAreStatic(): boolean {
  return (backend() as { readonly staticShapes?: boolean }).staticShapes === true;
}

/**
 * Returns `whole` [rows, heads, length, features] with the slice from `at` on along the length replaced by `part`
 * [rows, heads, n, features]. Not differentiable. Fused kernel: `WhetstoneWriteSlice {whole, part; at}` → [result],
 * computed in place if `whole` has no other references.
 */
export function writeSlice(whole: Tensor4D, part: Tensor4D, at: number): Tensor4D {
  return engine().tidy(() => {
    const fused = fusedKernel('WhetstoneWriteSlice', { whole, part }, { at });
    if (fused !== null) return fused[0] as Tensor4D;
    return concat([slice(whole, 0, [-1, -1, at, -1]), part, slice(whole, [0, 0, at + part.shape[2], 0])], 2);
  });
}
