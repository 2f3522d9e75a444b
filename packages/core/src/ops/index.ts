/**
 * Differentiable operations for models, strategies and callbacks. Each uses a fused kernel if the backend has one, and
 * plain operations of tfjs-core otherwise.
 *
 * @module @whetstone/core/ops
 */
export { activate, activateGated } from './activate.js';
export { activationNames, type ActivationName } from './activations.js';
export { adaptedLinear, type LowRankPair } from './adapted-linear.js';
export { addLowRank } from './add-low-rank.js';
export { attention, type AttentionBlock } from './attention.js';
export { constant, createScalars, type Scalars } from './constant.js';
export { crossEntropy } from './cross-entropy.js';
export { customGradient, savedAt, share, type ForwardResult, type InputGradient } from './custom-gradient.js';
export { gatherRows } from './gather-rows.js';
export { clipByGlobalNorm, globalNorm } from './global-norm.js';
export { layerNormalize } from './layer-normalize.js';
export { linearCrossEntropy, type LinearCrossEntropyOptions } from './linear-cross-entropy.js';
export { randomNormal } from './random-normal.js';
export { randomTruncatedNormal } from './random-truncated-normal.js';
export { randomUniform } from './random-uniform.js';
export { addResidual } from './residual.js';
export { rmsNormalize } from './rms-normalize.js';
export { rotate, type RotaryTables, type Rotation } from './rotary.js';
export { joinHeads, splitHeads } from './split-heads.js';
export { storageOf, storeBfloat16, storePacked } from './storage.js';
