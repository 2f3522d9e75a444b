/**
 * Operations that the engine, the models and the strategies share: each uses a fused kernel where the backend has one,
 * else plain ops.
 */
export * from './adamw-update.js';
export * from './add-product.js';
export * from './cross-entropy.js';
export * from './global-norm.js';
export * from './philox.js';
export * from './random-normal.js';
export * from './random-truncated-normal.js';
export * from './random-uniform.js';
export * from './registered-kernel.js';
export * from './activate.js';
export * from './adapted-linear.js';
export * from './activations.js';
export * from './add-low-rank.js';
export * from './attention.js';
export * from './boundary.js';
export * from './constant.js';
export * from './custom-gradient.js';
export * from './flash-attention.js';
export * from './fused-kernel.js';
export * from './gather-rows.js';
export * from './layer-normalize.js';
export * from './linear-cross-entropy.js';
export * from './outside-of-tape.js';
export * from './residual.js';
export * from './rms-normalize.js';
export * from './rotary.js';
export * from './split-heads.js';
export * from './storage.js';
export * from './unpack.js';
export * from './write-slice.js';
