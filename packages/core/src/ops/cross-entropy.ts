import {
  exp,
  expandDims,
  gatherND,
  log,
  max,
  mul,
  oneHot,
  softmax,
  sub,
  sum,
  tensor1d,
  tensor2d,
  type Tensor1D,
  type Tensor2D,
} from '@tensorflow/tfjs-core';
import { customGradient, savedAt } from './custom-gradient.js';
import { isKernelRegistered, runKernel } from './kernels.js';

/**
 * Fused kernel that a backend may register. Inputs: `logits` [n, v] float32 and `targets` [n] int32. Outputs: the loss
 * [n] and the gradient of its sum with respect to the logits [n, v]. Attribute `stretches`: the number of row ranges
 * that are computed one after the other to save memory; 1 by default.
 */
export const SPARSE_CROSS_ENTROPY_KERNEL = 'WhetstoneSparseCrossEntropy';

/**
 * Returns the cross-entropy of each position in nats, [n]: −log softmax(logits)[target] of logits [n, v]. The gradient
 * is softmax − one-hot, scaled by the gradient of the result. Differentiable once, with respect to the logits.
 *
 * @param targets n token ids, each below v. They are host data and an input of the recorded graph.
 */
export function crossEntropy(logits: Tensor2D, targets: Int32Array): Tensor1D {
  if (isKernelRegistered(SPARSE_CROSS_ENTROPY_KERNEL)) {
    return customGradient<Tensor1D>(
      [logits],
      () => {
        const { loss, gradient } = fusedLossAndGradient(logits, targets);
        return { value: loss, saved: [gradient] };
      },
      (dy, saved) => [mul(expandDims(dy, 1), savedAt(saved, 0))],
    );
  }
  return customGradient<Tensor1D>(
    [logits],
    () => ({ value: plainLoss(logits, targets), saved: [logits] }),
    (dy, saved) => [mul(expandDims(dy, 1), plainGradient(savedAt(saved, 0), targets))],
  );
}

/**
 * Returns the loss [n] of each position, and the gradient of their sum with respect to the logits [n, v]. Not
 * differentiable.
 *
 * @param rowRanges number of row ranges that are computed one after the other, at most n
 */
export function crossEntropyAndGradient(
  logits: Tensor2D,
  targets: Int32Array,
  rowRanges = 1,
): { readonly loss: Tensor1D; readonly gradient: Tensor2D } {
  if (isKernelRegistered(SPARSE_CROSS_ENTROPY_KERNEL)) return fusedLossAndGradient(logits, targets, rowRanges);
  return { loss: plainLoss(logits, targets), gradient: plainGradient(logits, targets) };
}

function fusedLossAndGradient(
  logits: Tensor2D,
  targets: Int32Array,
  rowRanges = 1,
): { loss: Tensor1D; gradient: Tensor2D } {
  const [loss, gradient] = runKernel(
    SPARSE_CROSS_ENTROPY_KERNEL,
    { logits, targets: tensor1d(targets, 'int32') },
    { stretches: rowRanges },
  );
  if (loss === undefined || gradient === undefined)
    throw new Error(`${SPARSE_CROSS_ENTROPY_KERNEL} must return a loss and a gradient.`);
  return { loss: loss as Tensor1D, gradient: gradient as Tensor2D };
}

function plainLoss(logits: Tensor2D, targets: Int32Array): Tensor1D {
  // The largest logit is subtracted, so that no exponential overflows.
  const shifted = sub(logits, max(logits, 1, true));
  return sub(log(sum(exp(shifted), 1)), gatherND(shifted, targetIndices(targets)));
}

function plainGradient(logits: Tensor2D, targets: Int32Array): Tensor2D {
  return sub(softmax(logits), oneHot(tensor1d(targets, 'int32'), logits.shape[1]));
}

/** Returns the row and column of each target, [n, 2]. */
function targetIndices(targets: Int32Array): Tensor2D {
  const indices = new Int32Array(2 * targets.length);
  for (let row = 0; row < targets.length; row++) {
    indices[2 * row] = row;
    indices[2 * row + 1] = targets[row] ?? 0;
  }
  return tensor2d(indices, [targets.length, 2], 'int32');
}
