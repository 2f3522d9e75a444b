/** Additional exports for the command line and the benchmarks. They may change in any release. */
export { isRead, strategyOfAdapter } from './adapters/formats.js';
export { applyMergedWeights, largestLogitDifference, probeLogits } from './adapters/merge-difference.js';
export { readAdapterConfig } from './adapters/read-adapter-folder.js';
export { fullStrategy } from './full/full.js';
export { loraStrategy } from './lora/lora.js';
export { dequantisedStorage } from './qlora/quantization.js';
export { readQuantization } from './qlora/read-quantization.js';
