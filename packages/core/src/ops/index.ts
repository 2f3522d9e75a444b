/**
 * Differentiable operations for models, strategies and callbacks. Each uses a fused kernel if the backend has one, and
 * plain operations of tfjs-core otherwise.
 *
 * @module @whetstone/core/ops
 */
export { activate, activateGated, activationNames, type ActivationName } from './activations.js';
export { attention, type AttentionBlock } from './attention.js';
export { crossEntropy } from './cross-entropy.js';
export { customGradient, savedAt, share, type ForwardResult, type InputGradient } from './custom-gradient.js';
export { joinHeads, rotate, splitHeads, type RotaryTables, type Rotation } from './heads.js';
export { linearCrossEntropy, type LinearCrossEntropyOptions } from './linear-cross-entropy.js';
export { adaptedLinear, addLowRank, type LowRankPair } from './low-rank.js';
export { gatherRows } from './memory.js';
export { addResidual, layerNormalize, rmsNormalize } from './normalization.js';
export { clipByGlobalNorm, globalNorm } from './optimizer.js';
export { randomNormal, randomTruncatedNormal, randomUniform } from './random.js';
export { constant, createScalars, type Scalars } from './recording.js';
export { storageOf, storeBfloat16, storePacked } from './storage.js';
