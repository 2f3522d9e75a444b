import * as tf from '@tensorflow/tfjs-core';
import { customGradient, savedAt } from './custom-gradient.js';
import { fusedKernel } from './fused-kernel.js';

/** Cosines and sines of the rotation, [rows, 1, length, headDim]; see {@link rotary} for the sign of the sines. */
export interface RotaryTables {
  readonly cos: tf.Tensor4D;
  readonly sin: tf.Tensor4D;
}

/**
 * Rotary position embedding (Su et al. 2021) of `x` [rows, heads, length, headDim], in the half-split layout: feature i is paired with i + rotated/2.
 * `tables.sin` is negative in its first half, so that `y = x · cos + swap(x) · sin`; features from `rotated` on have sine 0 and are only
 * multiplied by their cosine (1, or an attention scale folded into the tables).
 *
 * The gradient is the rotation backwards. Fused kernel: `WhetstoneRotary {x, cos, sin; rotated, backwards}` → [y].
 */
export function rotary(x: tf.Tensor4D, tables: RotaryTables, rotated: number): tf.Tensor4D {
  return customGradient<tf.Tensor4D>(
    [x],
    () => ({ value: rotate(x, tables.cos, tables.sin, rotated, false), saved: [tables.cos, tables.sin] }),
    (gradient, saved) => [rotate(gradient, savedAt(saved, 0), savedAt(saved, 1), rotated, true)],
  );
}

function rotate(x: tf.Tensor4D, cos: tf.Tensor4D, sin: tf.Tensor4D, rotated: number, backwards: boolean): tf.Tensor4D {
  const fused = fusedKernel('WhetstoneRotary', { x, cos, sin }, { rotated, backwards });
  if (fused !== null) return fused[0] as tf.Tensor4D;
  const straight = tf.mul(x, cos);
  const crossed = tf.mul(swapHalves(x, rotated), sin);
  return backwards ? tf.sub(straight, crossed) : tf.add(straight, crossed);
}

/** The two halves of the first `rotated` features exchanged; the others stay. */
function swapHalves(x: tf.Tensor4D, rotated: number): tf.Tensor4D {
  const [rows, heads, length, features] = x.shape;
  if (rotated === features) {
    return tf.reshape(tf.reverse(tf.reshape(x, [rows, heads, length, 2, features / 2]), 3), x.shape);
  }
  const [first, second, rest] = tf.split(x, [rotated / 2, rotated / 2, features - rotated], 3);
  return tf.concat([second, first, rest] as tf.Tensor4D[], 3);
}
