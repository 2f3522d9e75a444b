import { add, addN, div, minimum, mul, sqrt, square, sub, sum, type Scalar, type Tensor } from '@tensorflow/tfjs-core';
import { constant } from './recording.js';
import { fusedKernel, isKernelRegistered, runKernel } from './kernels.js';

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

/**
 * Returns the Euclidean norm of all tensors together, as if they were one vector. The sum of squares is a float32: it
 * overflows, and the norm is Infinity, if the norm exceeds 1.8·10¹⁹.
 */
export function globalNorm(tensors: Iterable<Tensor>): Scalar {
  return sqrt(addAll(Array.from(tensors, (tensor) => sum(square(tensor)))));
}

/** Keeps the denominator above zero, as PyTorch's clip_grad_norm_ does. */
export const NORM_EPSILON = 1e-6;

/**
 * Scales tensors so that their joint norm is at most `limit` (Pascanu et al. 2013). Returns the norm and the tensors
 * times `min(1, limit / (norm + 10⁻⁶))`. Not differentiable. Call inside `tf.tidy`. Fused kernel:
 * `WhetstoneClipByGlobalNorm {limit, tensor0, tensor1, …; epsilon}` → [norm, clipped…].
 */
export function clipByGlobalNorm(
  tensors: readonly Tensor[],
  limit: Scalar,
): { readonly norm: Scalar; readonly clipped: readonly Tensor[] } {
  const fused = fusedKernel('WhetstoneClipByGlobalNorm', { limit, ...byNumber(tensors) }, { epsilon: NORM_EPSILON });
  if (fused !== null) return { norm: fused[0] as Scalar, clipped: fused.slice(1) };
  const norm = globalNorm(tensors);
  const factor = minimum(constant(1), div(limit, add(norm, constant(NORM_EPSILON))));
  return { norm, clipped: tensors.map((tensor) => mul(tensor, factor)) };
}

/**
 * Returns the sum of all elements of all tensors, which shows in one pass whether they are finite. If the sum is
 * finite, every element is: NaN and Infinity persist in a sum, and infinities of both signs give NaN. The reverse is
 * true unless the sum itself overflows: finite elements whose partial sums exceed the float32 range (3.4·10³⁸) also
 * give a sum that is not finite. Fused kernel: `WhetstoneSumOfAll {tensor0, tensor1, …}` → [sum].
 */
export function finiteProbe(tensors: Iterable<Tensor>): Scalar {
  const all = [...tensors];
  const fused = all.length === 0 ? null : fusedKernel('WhetstoneSumOfAll', byNumber(all));
  return (fused?.[0] ?? addAll(all.map((tensor) => sum(tensor)))) as Scalar;
}

/** Returns tensors by the input names of kernels with a variable number of inputs. */
const byNumber = (tensors: readonly Tensor[]): Record<string, Tensor> =>
  Object.fromEntries(tensors.map((tensor, index) => [`tensor${index}`, tensor]));

/** Returns the sum of at least one scalar. */
function addAll(scalars: readonly Tensor[]): Scalar {
  return addN([...scalars]) as Scalar;
}
