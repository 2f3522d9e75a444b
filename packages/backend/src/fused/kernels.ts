import { activationKernels } from './activations.js';
import { attentionKernels } from './attention.js';
import { clipByGlobalNorm, sumOfAll } from './clipping.js';
import { flashAttentionKernels } from './flash-attention.js';
import { headKernels } from './heads.js';
import { lowRankKernels } from './low-rank.js';
import { normalizationKernels } from './normalization.js';
import { randomUniform } from './random.js';
import { writeSlice } from './write-slice.js';
import type { Kernel } from '../kernels/kernel.js';
import { adamw } from './adamw.js';
import { addProduct } from './add-product.js';
import { addRows } from './add-rows.js';
import { after } from './after.js';
import { sparseCrossEntropy } from './cross-entropy.js';

/**
 * Kernels under names of our own; the ops that call them live in `@whetstone/core/ops`, with plain fallbacks for other
 * backends.
 */
export const fusedKernels: readonly Kernel[] = [
  sparseCrossEntropy,
  adamw,
  addProduct,
  addRows,
  after,
  ...attentionKernels,
  ...flashAttentionKernels,
  ...activationKernels,
  ...normalizationKernels,
  ...headKernels,
  ...lowRankKernels,
  clipByGlobalNorm,
  sumOfAll,
  randomUniform,
  writeSlice,
];
