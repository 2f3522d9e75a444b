import { backend, concat, engine, slice, type Tensor4D } from '@tensorflow/tfjs-core';
import { fusedKernel } from './fused-kernel.js';

/**
 * Whether the backend in use compiles what it computes for each shape anew: what grows by one a step had better grow by
 * leaps there.
 */
export function shapesAreStatic(): boolean {
  return (backend() as { readonly staticShapes?: boolean }).staticShapes === true;
}

/**
 * `whole` [rows, heads, length, features] with `part` [rows, heads, n, features] in the place of what stood from `at`
 * on along the length. Not differentiable. Fused kernel: `WhetstoneWriteSlice {whole, part; at}` → the same, computed
 * in `whole`'s memory where nobody else holds it.
 */
export function writeSlice(whole: Tensor4D, part: Tensor4D, at: number): Tensor4D {
  return engine().tidy(() => {
    const fused = fusedKernel('WhetstoneWriteSlice', { whole, part }, { at });
    if (fused !== null) return fused[0] as Tensor4D;
    return concat([slice(whole, 0, [-1, -1, at, -1]), part, slice(whole, [0, 0, at + part.shape[2], 0])], 2);
  });
}
