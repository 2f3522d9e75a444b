import { add, mean, mul, rsqrt, square, sub, sum, type Tensor } from '@tensorflow/tfjs-core';
import { constant } from './recording.js';
import { customGradient, savedAt, share } from './custom-gradient.js';
import { fusedKernel } from './kernels.js';

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
export function rmsNormalize<T extends Tensor>(x: T, epsilon: number, weight: Tensor | null = null): T {
  return customGradient<T>(
    weight === null ? [x] : [x, weight],
    () => {
      const [value, inverse] = (fusedKernel('WhetstoneRmsNormalize', { x }, { epsilon }) ??
        rmsNormalizePlain(x, epsilon)) as [T, Tensor];
      return weight === null
        ? { value, saved: [value, inverse] }
        : { value: mul(value, weight), saved: [value, inverse, weight] };
    },
    (gradient, saved) => {
      const value = savedAt<T>(saved, 0);
      const inverse = savedAt(saved, 1);
      const ofX = (): Tensor => {
        const fused = fusedKernel('WhetstoneRmsNormalizeGrad', {
          gradient,
          value,
          inverse,
          ...(weight === null ? {} : { weight: savedAt(saved, 2) }),
        });
        if (fused !== null) return fused[0] as Tensor;
        const ofNormalized = weight === null ? gradient : mul(gradient, savedAt(saved, 2));
        const along = mean(mul(ofNormalized, value), -1, true);
        return mul(sub(ofNormalized, mul(value, along)), inverse);
      };
      const ofWeight = (): Tensor =>
        sum(
          mul(gradient, value),
          Array.from({ length: value.rank - 1 }, (_, axis) => axis),
        );
      return weight === null ? [ofX] : [ofX, ofWeight];
    },
  );
}

function rmsNormalizePlain(x: Tensor, epsilon: number): [Tensor, Tensor] {
  const inverse = rsqrt(add(mean(square(x), -1, true), constant(epsilon)));
  return [mul(x, inverse), inverse];
}

/**
 * Returns `(x − mean) / sqrt(variance + epsilon)` over the last axis (layer normalization without weight and bias, Ba
 * et al. 2016), in the shape of `x`.
 *
 * Fused kernels: `WhetstoneLayerNormalize {x; epsilon}` → [value, inverse root of the
 * variance [..., 1]], `WhetstoneLayerNormalizeGrad {gradient, value, inverse}` → [gradient of x].
 */
export function layerNormalize<T extends Tensor>(x: T, epsilon: number): T {
  return customGradient<T>(
    [x],
    () => {
      const [value, inverse] =
        fusedKernel('WhetstoneLayerNormalize', { x }, { epsilon }) ?? layerNormalizePlain(x, epsilon);
      return { value: value as T, saved: [value as T, inverse as Tensor] };
    },
    (gradient, saved) => {
      const value = savedAt<T>(saved, 0);
      const inverse = savedAt(saved, 1);
      const fused = fusedKernel('WhetstoneLayerNormalizeGrad', { gradient, value, inverse });
      if (fused !== null) return fused;
      const along = mean(mul(gradient, value), -1, true);
      const centred = sub(gradient, mean(gradient, -1, true));
      return [mul(sub(centred, mul(value, along)), inverse)];
    },
  );
}

function layerNormalizePlain(x: Tensor, epsilon: number): [Tensor, Tensor] {
  const centred = sub(x, mean(x, -1, true));
  const inverse = rsqrt(add(mean(square(centred), -1, true), constant(epsilon)));
  return [mul(centred, inverse), inverse];
}

/**
 * Returns `x + branch` of two tensors of the same shape. The gradient of both is that of the sum, so that nothing is
 * saved or recorded for it. The sum of tfjs-core saves both and reshapes twice.
 */
export function addResidual<T extends Tensor>(x: T, branch: T): T {
  return customGradient<T>(
    [x, branch],
    () => ({ value: add(x, branch), saved: [] }),
    (gradient) => [gradient, () => share(gradient)],
  );
}
