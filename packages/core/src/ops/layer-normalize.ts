import * as tf from '@tensorflow/tfjs-core';
import { constant } from './constant.js';
import { customGradient, savedAt } from './custom-gradient.js';
import { fusedKernel } from './fused-kernel.js';

/**
 * Returns `(x − mean) / sqrt(variance + epsilon)` over the last axis (layer normalization without weight and bias, Ba
 * et al. 2016), in the shape of `x`.
 *
 * Fused kernels: `WhetstoneLayerNormalize {x; epsilon}` → [value, inverse root of the
 * variance [..., 1]], `WhetstoneLayerNormalizeGrad {gradient, value, inverse}` → [gradient of x].
 */
export function layerNormalize<T extends tf.Tensor>(x: T, epsilon: number): T {
  return customGradient<T>(
    [x],
    () => {
      const [value, inverse] = fusedKernel('WhetstoneLayerNormalize', { x }, { epsilon }) ?? normalize(x, epsilon);
      return { value: value as T, saved: [value as T, inverse as tf.Tensor] };
    },
    (gradient, saved) => {
      const value = savedAt<T>(saved, 0);
      const inverse = savedAt(saved, 1);
      const fused = fusedKernel('WhetstoneLayerNormalizeGrad', { gradient, value, inverse });
      if (fused !== null) return fused;
      const along = tf.mean(tf.mul(gradient, value), -1, true);
      const centred = tf.sub(gradient, tf.mean(gradient, -1, true));
      return [tf.mul(tf.sub(centred, tf.mul(value, along)), inverse)];
    },
  );
}

function normalize(x: tf.Tensor, epsilon: number): [tf.Tensor, tf.Tensor] {
  const centred = tf.sub(x, tf.mean(x, -1, true));
  const inverse = tf.rsqrt(tf.add(tf.mean(tf.square(centred), -1, true), constant(epsilon)));
  return [tf.mul(centred, inverse), inverse];
}
