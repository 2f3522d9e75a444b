import * as tf from '@tensorflow/tfjs-core';
import { constant } from './constant.js';
import { customGradient, savedAt } from './custom-gradient.js';
import { fusedKernel } from './fused-kernel.js';

/**
 * `x / sqrt(mean(x²) + epsilon)` over the last axis (RMSNorm without its weight, Zhang and Sennrich 2019). Same shape as `x`.
 *
 * The weight is multiplied outside, so that its gradient is computed only where it is trained. Fused kernels: `WhetstoneRmsNormalize {x; epsilon}` → [value,
 * inverse root mean square [..., 1]], `WhetstoneRmsNormalizeGrad {gradient, value, inverse}` → [gradient of x].
 */
export function rmsNormalize<T extends tf.Tensor>(x: T, epsilon: number): T {
  return customGradient<T>(
    [x],
    () => {
      const [value, inverse] = fusedKernel('WhetstoneRmsNormalize', { x }, { epsilon }) ?? normalize(x, epsilon);
      return { value: value as T, saved: [value as T, inverse as tf.Tensor] };
    },
    (gradient, saved) => {
      const value = savedAt<T>(saved, 0);
      const inverse = savedAt(saved, 1);
      const fused = fusedKernel('WhetstoneRmsNormalizeGrad', { gradient, value, inverse });
      if (fused !== null) return fused;
      const along = tf.mean(tf.mul(gradient, value), -1, true);
      return [tf.mul(tf.sub(gradient, tf.mul(value, along)), inverse)];
    },
  );
}

function normalize(x: tf.Tensor, epsilon: number): [tf.Tensor, tf.Tensor] {
  const inverse = tf.rsqrt(tf.add(tf.mean(tf.square(x), -1, true), constant(epsilon)));
  return [tf.mul(x, inverse), inverse];
}
