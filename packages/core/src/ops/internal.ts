/** Operations and helpers that Whetstone's own packages share; they may change in any release. */
export { adamwUpdate } from './adamw-update.js';
export { boundary } from './boundary.js';
export { crossEntropyAndGradient } from './cross-entropy.js';
export {
  flashAttention,
  flashAttentionSupport,
  segmentLengths,
  segmentOffsets,
  type CausalSegments,
  type FlashAttentionSupport,
  type SegmentOffsets,
} from './flash-attention.js';
export { finiteProbe, NORM_EPSILON } from './global-norm.js';
export { outsideOfTape } from './outside-of-tape.js';
export { philox, philoxBlock, philoxUniform, scrambleKey } from './philox.js';
export { runKernel } from './registered-kernel.js';
export { storeFrom } from './storage.js';
export { scalesOfBlocks, transposed, unpackOnHost } from './unpack.js';
export { shapesAreStatic, writeSlice } from './write-slice.js';
