import { add, matMul, mul, type Scalar, type Tensor2D } from '@tensorflow/tfjs-core';
import { customGradient, savedAt } from './custom-gradient.js';

/**
 * `base + scale · (x · aᵀ) · bᵀ`: what a low-rank adapter adds to a linear layer (LoRA, Hu et al. 2021). `base` [tokens, out], `x` [tokens, in],
 * `a` [rank, in], `b` [out, rank]; a `scale` of null is 1, and gets no gradient. Scaling happens on the narrow side; the tape sees one operation
 * instead of four, which is a quarter of what a LoRA step records.
 */
export function addLowRank(base: Tensor2D, x: Tensor2D, a: Tensor2D, b: Tensor2D, scale: Scalar | null): Tensor2D {
  return customGradient<Tensor2D>(
    [base, x, a, b],
    () => {
      const narrow = scaled(matMul(x, a, false, true), scale);
      return { value: add(base, matMul(narrow, b, false, true)), saved: [x, a, b, narrow, ...(scale === null ? [] : [scale])] };
    },
    (gradient, saved) => {
      const [x, a, b, narrow] = [savedAt<Tensor2D>(saved, 0), savedAt<Tensor2D>(saved, 1), savedAt<Tensor2D>(saved, 2), savedAt<Tensor2D>(saved, 3)];
      const factor = scale === null ? null : savedAt<Scalar>(saved, 4);
      const ofNarrow = scaled(matMul(gradient, b), factor);
      return [gradient, matMul(ofNarrow, a), matMul(ofNarrow, x, true, false), matMul(gradient, narrow, true, false)];
    },
  );
}

const scaled = (narrow: Tensor2D, scale: Scalar | null): Tensor2D => (scale === null ? narrow : mul(narrow, scale));
