import * as tf from '@tensorflow/tfjs-core';
import { constant } from './constant.js';
import { customGradient, savedAt } from './custom-gradient.js';
import { fusedKernel } from './fused-kernel.js';

/**
 * Returns `x / sqrt(mean(x²) + epsilon)` over the last axis, times `weight` [features] if given (RMSNorm, Zhang and
 * Sennrich 2019), in the shape of `x`.
 *
 * The value before the weight and one number per row are saved for the gradient. The gradient of the weight is computed
 * only if it is trained.
 *
 * Fused kernels: `WhetstoneRmsNormalize {x; epsilon}` → [value before the weight, inverse root mean square
 * [..., 1]], `WhetstoneRmsNormalizeGrad {gradient, value, inverse, weight?}` → [gradient of x].
 */
export function rmsNormalize<T extends tf.Tensor>(x: T, epsilon: number, weight: tf.Tensor | null = null): T {
  return customGradient<T>(
    weight === null ? [x] : [x, weight],
    () => {
      const [value, inverse] = (fusedKernel('WhetstoneRmsNormalize', { x }, { epsilon }) ?? normalize(x, epsilon)) as [
        T,
        tf.Tensor,
      ];
      return weight === null
        ? { value, saved: [value, inverse] }
        : { value: tf.mul(value, weight), saved: [value, inverse, weight] };
    },
    (gradient, saved) => {
      const value = savedAt<T>(saved, 0);
      const inverse = savedAt(saved, 1);
      const ofX = (): tf.Tensor => {
        const fused = fusedKernel('WhetstoneRmsNormalizeGrad', {
          gradient,
          value,
          inverse,
          ...(weight === null ? {} : { weight: savedAt(saved, 2) }),
        });
        if (fused !== null) return fused[0] as tf.Tensor;
        const ofNormalized = weight === null ? gradient : tf.mul(gradient, savedAt(saved, 2));
        const along = tf.mean(tf.mul(ofNormalized, value), -1, true);
        return tf.mul(tf.sub(ofNormalized, tf.mul(value, along)), inverse);
      };
      const ofWeight = (): tf.Tensor =>
        tf.sum(
          tf.mul(gradient, value),
          Array.from({ length: value.rank - 1 }, (_, axis) => axis),
        );
      return weight === null ? [ofX] : [ofX, ofWeight];
    },
  );
}

function normalize(x: tf.Tensor, epsilon: number): [tf.Tensor, tf.Tensor] {
  const inverse = tf.rsqrt(tf.add(tf.mean(tf.square(x), -1, true), constant(epsilon)));
  return [tf.mul(x, inverse), inverse];
}
