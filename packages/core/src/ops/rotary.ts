import * as tf from '@tensorflow/tfjs-core';

/** Cosines and sines of the rotation, [rows, 1, length, headDim]; see {@link rotate} for the sign of the sines. */
export interface RotaryTables {
  readonly cos: tf.Tensor4D;
  readonly sin: tf.Tensor4D;
}

/** How heads are turned: the first `rotated` of their features, by these tables. */
export interface Rotation {
  readonly tables: RotaryTables;
  readonly rotated: number;
}

/**
 * Rotary position embedding (Su et al. 2021) of `x` [rows, heads, length, headDim] in plain operations, in the
 * half-split layout: feature i is paired with i + rotated/2. `tables.sin` is negative in its first half, so that `y = x
 * · cos + swap(x) · sin`; features from `rotated` on have sine 0 and are only multiplied by their cosine (1, or an
 * attention scale folded into the tables). The gradient is the rotation backwards.
 */
export function rotate(x: tf.Tensor4D, { tables: { cos, sin }, rotated }: Rotation, backwards: boolean): tf.Tensor4D {
  const straight = tf.mul<tf.Tensor4D>(x, cos);
  const crossed = tf.mul<tf.Tensor4D>(swapHalves(x, rotated), sin);
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
