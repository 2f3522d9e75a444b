import { reshape, transpose, type Tensor2D, type Tensor4D } from '@tensorflow/tfjs-core';
import { customGradient, savedAt } from './custom-gradient.js';
import { fusedKernel } from './fused-kernel.js';
import { rotate, type Rotation } from './rotary.js';

/**
 * Splits features [rows × length, heads × headDim] into heads [rows, heads, length, headDim], and applies the
 * `rotation` if given. A backend may store the result in the layout into which `attention` folds it, with `groups`
 * heads per key/value head; the values are the same.
 *
 * Fused kernels: `WhetstoneSplitHeads {x, cos?, sin?;
 * rows, headDim, groups, rotated}` → [by head], `WhetstoneJoinHeads {x, cos?, sin?; rotated}` → [by token, rotated
 * back].
 */
export function splitHeads(
  x: Tensor2D,
  rows: number,
  headDim: number,
  { rotation = null, groups = 1 }: { readonly rotation?: Rotation | null; readonly groups?: number } = {},
): Tensor4D {
  return customGradient<Tensor4D>(
    [x],
    () => {
      const fused = fusedKernel(
        'WhetstoneSplitHeads',
        { x, ...(rotation === null ? {} : { ...rotation.tables }) },
        { rows, headDim, groups, rotated: rotation?.rotated ?? 0 },
      );
      return {
        value: (fused?.[0] ?? split(x, rows, headDim, rotation)) as Tensor4D,
        saved: rotation === null ? [] : [rotation.tables.cos, rotation.tables.sin],
      };
    },
    (gradient, saved) => [
      () =>
        joinHeads(
          gradient,
          rotation === null
            ? null
            : { tables: { cos: savedAt(saved, 0), sin: savedAt(saved, 1) }, rotated: rotation.rotated },
        ),
    ],
  );
}

/**
 * Inverts {@link splitHeads}. It is not recorded on a tape: call it in a gradient, or within an operation with a custom
 * gradient.
 */
export function joinHeads(x: Tensor4D, rotation: Rotation | null = null): Tensor2D {
  const fused = fusedKernel(
    'WhetstoneJoinHeads',
    { x, ...(rotation === null ? {} : { ...rotation.tables }) },
    { rotated: rotation?.rotated ?? 0 },
  );
  if (fused !== null) return fused[0] as Tensor2D;
  const [rows, heads, length, headDim] = x.shape;
  return reshape(transpose(rotation === null ? x : rotate(x, rotation, true), [0, 2, 1, 3]), [
    rows * length,
    heads * headDim,
  ]);
}

function split(x: Tensor2D, rows: number, headDim: number, rotation: Rotation | null): Tensor4D {
  const heads: Tensor4D = transpose(reshape(x, [rows, -1, x.shape[1] / headDim, headDim]), [0, 2, 1, 3]);
  return rotation === null ? heads : rotate(heads, rotation, false);
}
