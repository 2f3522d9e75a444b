import { add, addN, div, minimum, mul, sqrt, square, sum, type Scalar, type Tensor } from '@tensorflow/tfjs-core';
import { constant } from './constant.js';
import { fusedKernel } from './fused-kernel.js';

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
