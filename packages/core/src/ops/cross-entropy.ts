import {
  customGrad, exp, expandDims, gatherND, log, max, mul, oneHot, softmax, sub, sum, tensor1d, tensor2d,
  type GradSaveFunc, type Tensor, type Tensor1D, type Tensor2D,
} from '@tensorflow/tfjs-core';
import { isKernelRegistered, runKernel } from './registered-kernel.js';

/**
 * Fused kernel that a backend may register: inputs `logits` [n, v] float32 and `targets` [n] int32,
 * outputs loss [n] and the gradient of its sum with respect to the logits [n, v].
 */
export const SPARSE_CROSS_ENTROPY_KERNEL = 'WhetstoneSparseCrossEntropy';

/**
 * Cross-entropy of each position in nats: −log softmax(logits)[target], [n] from logits [n, v].
 * The gradient is softmax − one-hot, scaled by the gradient of the result. Differentiable once, with respect to the logits.
 *
 * @param targets n token ids, each below v. They are host data, and an input of the recorded graph.
 */
export function crossEntropy(logits: Tensor2D, targets: Int32Array): Tensor1D {
  const loss = isKernelRegistered(SPARSE_CROSS_ENTROPY_KERNEL) ? fused(targets) : plain(targets);
  return loss(logits) as Tensor1D;
}

const fused = (targets: Int32Array) =>
  customGrad((logits, save) => {
    const [loss, gradient] = runKernel(SPARSE_CROSS_ENTROPY_KERNEL, { logits: logits as Tensor, targets: tensor1d(targets, 'int32') });
    if (loss === undefined || gradient === undefined) throw new Error(`${SPARSE_CROSS_ENTROPY_KERNEL} has to give a loss and a gradient.`);
    (save as GradSaveFunc)([gradient]);
    return { value: loss, gradFunc: (dy: Tensor, [saved]: Tensor[]) => mul(expandDims(dy, 1), saved as Tensor) };
  });

const plain = (targets: Int32Array) =>
  customGrad((input, save) => {
    const logits = input as Tensor2D;
    (save as GradSaveFunc)([logits]);
    // Relative to the largest logit, so that no exponential overflows.
    const shifted = sub(logits, max(logits, 1, true));
    const value = sub(log(sum(exp(shifted), 1)), gatherND(shifted, targetIndices(targets)));
    return {
      value,
      gradFunc: (dy: Tensor, [saved]: Tensor[]) => {
        const probabilities = softmax(saved as Tensor2D);
        const chosen = oneHot(tensor1d(targets, 'int32'), logits.shape[1]);
        return mul(expandDims(dy, 1), sub(probabilities, chosen));
      },
    };
  });

/** [n, 2]: the row and column of each target. */
function targetIndices(targets: Int32Array): Tensor2D {
  const indices = new Int32Array(2 * targets.length);
  for (let row = 0; row < targets.length; row += 1) {
    indices[2 * row] = row;
    indices[2 * row + 1] = targets[row] ?? 0;
  }
  return tensor2d(indices, [targets.length, 2], 'int32');
}
