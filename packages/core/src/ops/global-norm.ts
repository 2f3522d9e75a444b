import { addN, sqrt, square, sum, type Scalar, type Tensor } from '@tensorflow/tfjs-core';

/** The Euclidean norm of all tensors together, as if they were one vector. */
export function globalNorm(tensors: Iterable<Tensor>): Scalar {
  return sqrt(addAll(Array.from(tensors, (tensor) => sum(square(tensor)))));
}

/**
 * A scalar that is finite exactly where every element of every tensor is: their sum (infinities of both signs give NaN).
 * One pass, one scalar to read.
 */
export function finiteProbe(tensors: Iterable<Tensor>): Scalar {
  return addAll(Array.from(tensors, (tensor) => sum(tensor)));
}

/** The sum of scalars, one at least. */
function addAll(scalars: readonly Tensor[]): Scalar {
  return addN([...scalars]) as Scalar;
}
