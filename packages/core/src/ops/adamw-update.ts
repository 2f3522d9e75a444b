import { add, div, mul, sqrt, square, sub, type Scalar, type Tensor } from '@tensorflow/tfjs-core';
import { isKernelRegistered, runKernel } from './registered-kernel.js';

/**
 * Fused kernel that a backend may register. Inputs: `parameter`, `gradient`, `firstMoment`, `secondMoment` of one
 * shape, and the scalars `stepSize`, `decay`, `correction`. Attributes: `beta1`, `beta2`, `epsilon`. Outputs: the new
 * parameter, first moment and second moment.
 */
export const ADAMW_KERNEL = 'WhetstoneAdamW';

/** The tensors that the update of one parameter reads. */
export interface AdamWInputs {
  readonly parameter: Tensor;
  readonly gradient: Tensor;
  readonly firstMoment: Tensor;
  readonly secondMoment: Tensor;
}

/**
 * The changing numbers of the update, as tensors shared by all parameters. They are inputs of the recorded graph, so
 * that new values do not recompile it.
 */
export interface AdamWScalars {
  /** Learning rate ÷ (1 − β₁ᵗ). */
  readonly stepSize: Scalar;
  /** 1 − learning rate × weight decay; 1 if the parameter does not decay. */
  readonly decay: Scalar;
  /** 1 ÷ √(1 − β₂ᵗ). */
  readonly correction: Scalar;
}

/** The numbers that are constant during a run. */
export interface AdamWConstants {
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
}

/** The new parameter and moments. */
export type AdamWResult = [parameter: Tensor, firstMoment: Tensor, secondMoment: Tensor];

/**
 * Computes one AdamW update of one parameter (Loshchilov & Hutter, 2019, with PyTorch's order of the bias correction):
 * m ← m + (1 − β₁)(g − m); v ← β₂ v + (1 − β₂) g²; p ← decay · p − stepSize · m ÷ (√v · correction + ε).
 * Call inside `tf.tidy`.
 *
 * @param scalarOf returns a number as a tensor, which the caller shares between parameters and disposes
 */
export function adamwUpdate(
  inputs: AdamWInputs,
  scalars: AdamWScalars,
  { beta1, beta2, epsilon }: AdamWConstants,
  scalarOf: (value: number) => Scalar,
): AdamWResult {
  if (isKernelRegistered(ADAMW_KERNEL)) {
    const outputs = runKernel(ADAMW_KERNEL, { ...inputs, ...scalars }, { beta1, beta2, epsilon });
    if (outputs.length !== 3) throw new Error(`${ADAMW_KERNEL} must return three tensors.`);
    return outputs as AdamWResult;
  }
  const { parameter, gradient } = inputs;
  const firstMoment = add(inputs.firstMoment, mul(sub(gradient, inputs.firstMoment), scalarOf(1 - beta1)));
  const secondMoment = add(mul(inputs.secondMoment, scalarOf(beta2)), mul(square(gradient), scalarOf(1 - beta2)));
  const denominator = add(mul(sqrt(secondMoment), scalars.correction), scalarOf(epsilon));
  return [
    sub(mul(parameter, scalars.decay), mul(div(firstMoment, denominator), scalars.stepSize)),
    firstMoment,
    secondMoment,
  ];
}
