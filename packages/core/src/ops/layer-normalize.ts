import * as tf from '@tensorflow/tfjs-core';
import { constant } from './constant.js';
import { customGradient, savedAt } from './custom-gradient.js';

/** `(x − mean) / sqrt(variance + epsilon)` over the last axis (layer normalisation without weight and bias, Ba et al. 2016). Same shape as `x`. */
export function layerNormalize<T extends tf.Tensor>(x: T, epsilon: number): T {
  return customGradient<T>(
    [x],
    () => {
      const centred = tf.sub(x, tf.mean(x, -1, true));
      const inverse = tf.rsqrt(tf.add(tf.mean(tf.square(centred), -1, true), constant(epsilon)));
      const value = tf.mul(centred, inverse) as T;
      return { value, saved: [value, inverse] };
    },
    (gradient, saved) => {
      const value = savedAt<T>(saved, 0);
      const along = tf.mean(tf.mul(gradient, value), -1, true);
      const centred = tf.sub(gradient, tf.mean(gradient, -1, true));
      return [tf.mul(tf.sub(centred, tf.mul(value, along)), savedAt(saved, 1))];
    },
  );
}
