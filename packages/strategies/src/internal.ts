/** What the command and the benchmarks use besides the public exports. It may change in any release. */
export { becomeMerged, largestLogitDifference, probeLogits } from './adapters/merge-difference.js';
export { fullStrategy } from './full/full.js';
export { loraStrategy } from './lora/lora.js';
export { defaultLoraOptions } from './lora/options.js';
export { baseNumbers } from './qlora/quantization.js';
export { readQuantization } from './qlora/read-quantization.js';
