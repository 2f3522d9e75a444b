import * as tf from '@tensorflow/tfjs-core';

/** Cosines and sines of the rotation, [rows, 1, length, headDim]. See {@link rotate} for the sign of the sines. */
export interface RotaryTables {
  readonly cos: tf.Tensor4D;
  readonly sin: tf.Tensor4D;
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
 */
export function rotate(x: tf.Tensor4D, { tables: { cos, sin }, rotated }: Rotation, backwards: boolean): tf.Tensor4D {
  const straight = tf.mul<tf.Tensor4D>(x, cos);
  const crossed = tf.mul<tf.Tensor4D>(swapHalves(x, rotated), sin);
  return backwards ? tf.sub(straight, crossed) : tf.add(straight, crossed);
}

/** Swaps the two halves of the first `rotated` features. The others are unchanged. */
function swapHalves(x: tf.Tensor4D, rotated: number): tf.Tensor4D {
  const [rows, heads, length, features] = x.shape;
  if (rotated === features) {
    return tf.reshape(tf.reverse(tf.reshape(x, [rows, heads, length, 2, features / 2]), 3), x.shape);
  }
  const [first, second, rest] = tf.split(x, [rotated / 2, rotated / 2, features - rotated], 3);
  return tf.concat([second, first, rest] as tf.Tensor4D[], 3);
}
