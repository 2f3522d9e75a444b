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
import { fusedKernel } from './kernels.js';

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

/**
 * Returns `base + scale · (x · aᵀ) · bᵀ`: the output of a linear layer with a low-rank adapter (LoRA, Hu et al. 2021).
 * `base` [tokens, out], `x` [tokens, in], `a` [rank, in], `b` [out, rank]. A `scale` of null is 1 and has no gradient.
 *
 * The scale is applied to `x · aᵀ`, the smaller tensor. The tape contains one operation instead of four, which saves a
 * quarter of the operations of a LoRA step.
 *
 * Fused kernels: `WhetstoneAddLowRank {base, x, a, b, scale?}` → [value, narrow = scale · x · aᵀ],
 * `WhetstoneAddLowRankGrad {gradient, x, a, b, narrow, scale?}` → [gradient of x, of a, of b].
 */
export function addLowRank(base: Tensor2D, x: Tensor2D, a: Tensor2D, b: Tensor2D, scale: Scalar | null): Tensor2D {
  return customGradient<Tensor2D>(
    [base, x, a, b],
    () => {
      const fused = fusedKernel('WhetstoneAddLowRank', { base, x, a, b, ...(scale === null ? {} : { scale }) });
      const narrow = (fused?.[1] ?? scaled(matMul(x, a, false, true), scale)) as Tensor2D;
      return {
        value: (fused?.[0] ?? add(base, matMul(narrow, b, false, true))) as Tensor2D,
        saved: [x, a, b, narrow, ...(scale === null ? [] : [scale])],
      };
    },
    (gradient, saved) => {
      const [x, a, b, narrow] = [
        savedAt<Tensor2D>(saved, 0),
        savedAt<Tensor2D>(saved, 1),
        savedAt<Tensor2D>(saved, 2),
        savedAt<Tensor2D>(saved, 3),
      ];
      const factor = scale === null ? null : savedAt<Scalar>(saved, 4);
      const fused = fusedKernel('WhetstoneAddLowRankGrad', {
        gradient,
        x,
        a,
        b,
        narrow,
        ...(factor === null ? {} : { scale: factor }),
      });
      if (fused !== null) return [gradient, ...fused];
      const ofNarrow = scaled(matMul(gradient, b), factor);
      return [gradient, matMul(ofNarrow, a), matMul(ofNarrow, x, true, false), matMul(gradient, narrow, true, false)];
    },
  );
}
