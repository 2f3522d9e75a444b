import {
  add,
  concat,
  mul,
  reshape,
  reverse,
  split,
  sub,
  transpose,
  type Tensor2D,
  type Tensor4D,
} from '@tensorflow/tfjs-core';
import { customGradient, savedAt } from './custom-gradient.js';
import { fusedKernel } from './kernels.js';

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
        value: (fused?.[0] ?? splitPlain(x, rows, headDim, rotation)) as Tensor4D,
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

function splitPlain(x: Tensor2D, rows: number, headDim: number, rotation: Rotation | null): Tensor4D {
  const heads: Tensor4D = transpose(reshape(x, [rows, -1, x.shape[1] / headDim, headDim]), [0, 2, 1, 3]);
  return rotation === null ? heads : rotate(heads, rotation, false);
}

/** Cosines and sines of the rotation, [rows, 1, length, headDim]. See {@link rotate} for the sign of the sines. */
export interface RotaryTables {
  readonly cos: Tensor4D;
  readonly sin: Tensor4D;
}

/** A rotation of heads: the tables, and the number of features that are rotated. */
export interface Rotation {
  readonly tables: RotaryTables;
  readonly rotated: number;
}

/**
 * Applies the rotary position embedding (Su et al. 2021) to `x` [rows, heads, length, headDim] in plain operations.
 *
 * In the half-split layout, feature i is paired with i + rotated/2. `tables.sin` is negative in its first half, so that
 * `y = x · cos + swap(x) · sin`. Features from `rotated` on have sine 0 and are only multiplied by their cosine (1, or
 * an attention scale folded into the tables). The gradient is the inverse rotation.
 *
 * @public
 */
export function rotate(x: Tensor4D, { tables: { cos, sin }, rotated }: Rotation, backwards: boolean): Tensor4D {
  const straight = mul<Tensor4D>(x, cos);
  const crossed = mul<Tensor4D>(swapHalves(x, rotated), sin);
  return backwards ? sub(straight, crossed) : add(straight, crossed);
}

/** Swaps the two halves of the first `rotated` features. The others are unchanged. */
function swapHalves(x: Tensor4D, rotated: number): Tensor4D {
  const [rows, heads, length, features] = x.shape;
  if (rotated === features) {
    return reshape(reverse(reshape(x, [rows, heads, length, 2, features / 2]), 3), x.shape);
  }
  const [first, second, rest] = split(x, [rotated / 2, rotated / 2, features - rotated], 3);
  return concat([second, first, rest] as Tensor4D[], 3);
}
