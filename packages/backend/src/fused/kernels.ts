import type { Kernel } from '../kernels/kernel.js';
import { activationKernels } from './activations.js';
import { attentionKernels } from './attention.js';
import { sparseCrossEntropy } from './cross-entropy.js';
import { flashAttentionKernels } from './flash-attention.js';
import { headKernels } from './heads.js';
import { lowRankKernels } from './low-rank.js';
import { memoryKernels } from './memory.js';
import { normalizationKernels } from './normalization.js';
import { optimizerKernels } from './optimizer.js';

/**
 * Kernels that tfjs-core does not have. The operations that call them are in `@whetstone/core/ops`, with plain
 * fallbacks for other backends.
 */
export const fusedKernels: readonly Kernel[] = [
  sparseCrossEntropy,
  ...attentionKernels,
  ...flashAttentionKernels,
  ...activationKernels,
  ...normalizationKernels,
  ...headKernels,
  ...lowRankKernels,
  ...memoryKernels,
  ...optimizerKernels,
];
