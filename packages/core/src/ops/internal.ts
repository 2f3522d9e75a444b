/** Operations and helpers that Whetstone's own packages share; they may change in any release. */
export { crossEntropyAndGradient } from './cross-entropy.js';
export { outsideOfTape } from './custom-gradient.js';
export {
  flashAttention,
  flashAttentionSupport,
  segmentLengths,
  segmentOffsets,
  type CausalSegments,
  type FlashAttentionSupport,
  type SegmentOffsets,
} from './flash-attention.js';
export { runKernel } from './kernels.js';
export { overwriteRows } from './memory.js';
export { adamwUpdate, finiteProbe, NORM_EPSILON } from './optimizer.js';
export { philox, philoxBlock, philoxUniform, scrambleKey } from './random.js';
export { boundary, shapesAreStatic, submitRecording } from './recording.js';
export { storeFrom } from './storage.js';
export { repeatable, type Repeatable } from './repeatable.js';
export { scalesOfBlocks, transposed, unpackOnHost } from './unpack.js';
