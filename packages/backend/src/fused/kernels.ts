import { activationKernels } from './activations.js';
import { attentionKernels } from './attention.js';
import { clipByGlobalNorm, sumOfAll } from './clipping.js';
import { flashAttentionKernels } from './flash-attention.js';
import { headKernels } from './heads.js';
import { lowRankKernels } from './low-rank.js';
import { normalizationKernels } from './normalization.js';
import { randomUniform } from './random.js';
import { writeSlice } from './write-slice.js';
import type { Spec } from '../recorder/types.js';
import { int, type } from '../kernels/attributes.js';
import type { Kernel } from '../kernels/kernel.js';
import { adamw } from './adamw.js';
import { addRows } from './add-rows.js';
import { after } from './after.js';
import { lowerSparseCrossEntropy } from './cross-entropy.stablehlo.js';

/**
 * Cross-entropy of each row against one class, and its gradient: logits [n, v] and targets [n] give losses [n] and
 * softmax − one-hot [n, v].
 *
 * Written with Softmax, which oneDNN computes on all cores: TensorFlow's own fused op takes four times as long over 49,152 columns. The logarithm
 * of the normaliser is exact enough from the largest logit and the largest probability, which is at least 1/v.
 */
const sparseCrossEntropy: Kernel = {
  name: 'WhetstoneSparseCrossEntropy',
  inputs: ['logits', 'targets'],
  list: true,
  eager: false,
  rule: ([logits]) => {
    const { shape } = logits as Spec;
    return {
      outputs: [
        { shape: shape.slice(0, 1), dtype: 'float32' },
        { shape, dtype: 'float32' },
      ],
    };
  },
  tensorflow: (emit, [logits, targets]) => {
    const columns = emit.constant('int32', [1], [1]);
    const zero = emit.constant('int32', [], [0]);
    const one = emit.constant('int32', [], [1]);
    const rows = emit.op('Range', [zero, emit.op('Size', [targets!], { out_type: type('int32') }), one], {});
    const chosen = emit.op('Pack', [[rows, targets!]], { axis: int(1) });
    const probabilities = emit.op('Softmax', [logits!]);
    const largest = emit.op('Max', [logits!, columns]);
    const normaliser = emit.op('Sub', [largest, emit.op('Log', [emit.op('Max', [probabilities, columns])])]);
    const loss = emit.op('Sub', [normaliser, emit.op('GatherNd', [logits!, chosen])]);
    // In the memory of the probabilities; TensorScatterSub would copy them.
    return [loss, emit.op('ScatterNdNonAliasingAdd', [probabilities, chosen, emit.op('Neg', [emit.op('OnesLike', [loss])])])];
  },
  stablehlo: lowerSparseCrossEntropy,
};

/** Kernels under names of our own; the ops that call them live in `@whetstone/core/ops`, with plain fallbacks for other backends. */
export const fusedKernels: readonly Kernel[] = [sparseCrossEntropy, adamw, addRows, after, ...attentionKernels, ...flashAttentionKernels, ...activationKernels, ...normalizationKernels, ...headKernels, ...lowRankKernels, clipByGlobalNorm, sumOfAll, randomUniform, writeSlice];
