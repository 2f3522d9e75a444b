import type { Spec } from '../recorder/types.js';
import type { Kernel } from '../kernels/kernel.js';

/**
 * Cross-entropy of each row against one class, and its gradient, in one pass over the logits: logits [n, v] and targets [n]
 * give losses [n] and softmax − one-hot [n, v].
 */
const sparseCrossEntropy: Kernel = {
  name: 'WhetstoneSparseCrossEntropy',
  inputs: ['logits', 'targets'],
  list: true,
  rule: ([logits]) => {
    const { shape } = logits as Spec;
    return {
      outputs: [
        { shape: shape.slice(0, 1), dtype: 'float32' },
        { shape, dtype: 'float32' },
      ],
    };
  },
  tensorflow: (emit, [logits, targets]) => emit.ops('SparseSoftmaxCrossEntropyWithLogits', [logits!, targets!], {}, 2),
};

/** Kernels under names of our own; the ops that call them live in `@whetstone/core/ops`, with plain fallbacks for other backends. */
export const fusedKernels: readonly Kernel[] = [sparseCrossEntropy];
