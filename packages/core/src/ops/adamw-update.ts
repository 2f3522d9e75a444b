import { add, div, mul, sqrt, square, sub, type Scalar, type Tensor } from '@tensorflow/tfjs-core';
import { isKernelRegistered, runKernel } from './registered-kernel.js';

/**
 * Fused kernel that a backend may register: inputs `parameter`, `gradient`, `firstMoment`, `secondMoment` of one shape
 * and the scalars `stepSize`, `decay`, `correction`; attributes `beta1`, `beta2`, `epsilon`; outputs the new parameter,
 * first and second moment.
 */
export const ADAMW_KERNEL = 'WhetstoneAdamW';

/** What one parameter's update reads. */
export interface AdamWInputs {
  readonly parameter: Tensor;
  readonly gradient: Tensor;
  readonly firstMoment: Tensor;
  readonly secondMoment: Tensor;
}

/**
 * Numbers of the update as tensors, shared by all parameters: inputs of the recorded graph, so that nothing is compiled
 * again.
 */
export interface AdamWScalars {
  /** Learning rate ÷ (1 − β₁ᵗ). */
  readonly stepSize: Scalar;
  /** 1 − learning rate × weight decay; 1 where the parameter does not decay. */
  readonly decay: Scalar;
  /** 1 ÷ √(1 − β₂ᵗ). */
  readonly correction: Scalar;
}

/** Numbers that stay the same for the whole run. */
export interface AdamWConstants {
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
}

/** The new parameter and moments. */
export type AdamWResult = [parameter: Tensor, firstMoment: Tensor, secondMoment: Tensor];

/**
 * One AdamW update of one parameter (Loshchilov & Hutter, 2019, with bias correction as PyTorch orders it):
 * m ← m + (1 − β₁)(g − m); v ← β₂ v + (1 − β₂) g²; p ← decay · p − stepSize · m ÷ (√v · correction + ε).
 * Call inside `tf.tidy`.
 *
 * @param scalarOf gives a number as a tensor that the caller shares between parameters and disposes.
 */
export function adamwUpdate(
  inputs: AdamWInputs,
  scalars: AdamWScalars,
  { beta1, beta2, epsilon }: AdamWConstants,
  scalarOf: (value: number) => Scalar,
): AdamWResult {
  if (isKernelRegistered(ADAMW_KERNEL)) {
    const outputs = runKernel(ADAMW_KERNEL, { ...inputs, ...scalars }, { beta1, beta2, epsilon });
    if (outputs.length !== 3) throw new Error(`${ADAMW_KERNEL} has to give three tensors.`);
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
