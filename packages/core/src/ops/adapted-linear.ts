import {
  add,
  matMul,
  mul,
  sum,
  type NamedTensorMap,
  type Scalar,
  type Tensor,
  type Tensor2D,
} from '@tensorflow/tfjs-core';
import type { PlainLinear } from '../contract/model.js';
import { customGradient, savedAt } from './custom-gradient.js';
import { fusedKernel } from './fused-kernel.js';

/**
 * The tensors of a low-rank adapter: `a` [rank, in] and `b` [out, rank]. A `scale` of null is 1 and has no gradient.
 */
export interface LowRankPair {
  readonly a: Tensor2D;
  readonly b: Tensor2D;
  readonly scale: Scalar | null;
}

/**
 * Returns `x · Wᵀ + bias + scale · (x · aᵀ) · bᵀ`: a linear layer and its low-rank adapter (LoRA, Hu et al. 2021) as
 * one operation in each pass; `x` [tokens, in]. The scale is applied to `x · aᵀ`, the smaller tensor. Gradients of
 * weight and bias are computed only if they are trained.
 *
 * Fused kernels: `WhetstoneAdaptedLinear {x, weight, a, b, scale?, bias?; inFirst,
 * hasScale}` → [value, narrow = scale · x · aᵀ], `WhetstoneAdaptedLinearGrad {gradient, x, weight, a, b, narrow,
 * scale?; inFirst}` → [gradient of x, of a, of b].
 */
export function adaptedLinear(
  x: Tensor2D,
  { weight, fanInFanOut, bias }: PlainLinear,
  { a, b, scale }: LowRankPair,
): Tensor2D {
  const scales: NamedTensorMap = scale === null ? {} : { scale };
  return customGradient<Tensor2D>(
    [x, a, b, weight, ...(bias === null ? [] : [bias])],
    () => {
      const fused = fusedKernel(
        'WhetstoneAdaptedLinear',
        { x, weight, a, b, ...scales, ...(bias === null ? {} : { bias }) },
        { inFirst: fanInFanOut, hasScale: scale !== null },
      );
      const [value, narrow] = (fused ?? adapt(x, { weight, fanInFanOut, bias }, { a, b, scale })) as [
        Tensor2D,
        Tensor2D,
      ];
      return { value, saved: [x, a, b, weight, narrow, ...(scale === null ? [] : [scale])] };
    },
    (gradient, saved) => {
      const [x, a, b, weight, narrow] = saved as [Tensor2D, Tensor2D, Tensor2D, Tensor2D, Tensor2D];
      const factor = scale === null ? null : savedAt<Scalar>(saved, 5);
      const fused = fusedKernel(
        'WhetstoneAdaptedLinearGrad',
        { gradient, x, weight, a, b, narrow, ...(factor === null ? {} : { scale: factor }) },
        { inFirst: fanInFanOut },
      );
      const ofWeight = (): Tensor =>
        fanInFanOut ? matMul(x, gradient, true, false) : matMul(gradient, x, true, false);
      return [
        ...(fused ?? adaptBackward(gradient, { x, a, b, weight, narrow, factor, fanInFanOut })),
        ofWeight,
        ...(bias === null ? [] : [() => sum(gradient, 0)]),
      ];
    },
  );
}

function adapt(
  x: Tensor2D,
  { weight, fanInFanOut, bias }: PlainLinear,
  { a, b, scale }: LowRankPair,
): [Tensor2D, Tensor2D] {
  const product: Tensor2D = matMul(x, weight, false, !fanInFanOut);
  const narrow = scaled(matMul(x, a, false, true), scale);
  return [add(bias === null ? product : add(product, bias), matMul(narrow, b, false, true)), narrow];
}

interface SavedTensors {
  readonly x: Tensor2D;
  readonly a: Tensor2D;
  readonly b: Tensor2D;
  readonly weight: Tensor2D;
  readonly narrow: Tensor2D;
  readonly factor: Scalar | null;
  readonly fanInFanOut: boolean;
}

function adaptBackward(
  gradient: Tensor2D,
  { x, a, b, weight, narrow, factor, fanInFanOut }: SavedTensors,
): [Tensor2D, Tensor2D, Tensor2D] {
  const ofNarrow = scaled(matMul(gradient, b), factor);
  return [
    add(matMul(gradient, weight, false, fanInFanOut), matMul(ofNarrow, a)),
    matMul(ofNarrow, x, true, false),
    matMul(gradient, narrow, true, false),
  ];
}

const scaled = (narrow: Tensor2D, scale: Scalar | null): Tensor2D => (scale === null ? narrow : mul(narrow, scale));
