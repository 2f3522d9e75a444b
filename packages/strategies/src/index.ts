/** The built-in strategies, and what adapters need beyond training. */
import { ewc } from './ewc/ewc.js';
import { frozenLayers } from './frozen-layers/frozen-layers.js';
import { full } from './full.js';
import { hardSamples } from './hard-samples/hard-samples.js';
import { lora } from './lora/lora.js';
import { pTuningV2 } from './prompt/p-tuning-v2.js';
import { qlora } from './qlora/qlora.js';
import { replay } from './replay/replay.js';

export { anchorOf, consolidationPenalty, type Consolidation } from './ewc/consolidation.js';
export { ewc, ewcStrategy, type EwcOptions } from './ewc/ewc.js';
export { diagonalFisher, type FisherProgress } from './ewc/fisher.js';
export { frozenLayers, frozenLayersStrategy, type FrozenLayersOptions } from './frozen-layers/frozen-layers.js';
export { full, fullStrategy } from './full.js';
export { hardSamples, hardSamplesStrategy, type HardSamplesOptions } from './hard-samples/hard-samples.js';
export { lora, loraStrategy } from './lora/lora.js';
export { type AdapterFiles } from './adapters/adapter-files.js';
export { createAdapterSet, type AdapterSet } from './adapters/adapter-set.js';
export { readAdapterFolder, type ReadAdapter } from './adapters/read-adapter-folder.js';
export { loadAdapter, type LoadedAdapter } from './adapters/load-adapter.js';
export { adapterFromMlx, adapterToMlx, isMlxConfig, mlxFiles } from './adapters/mlx.js';
export { becomeMerged, largestLogitDifference, probeLogits } from './adapters/merge-difference.js';
export { mergeAdapter, type MergedWeights } from './adapters/merge-adapter.js';
export { defaultLoraOptions, type LoraOptions } from './lora/options.js';
export { prefixStrategy, pTuningV2, type PrefixOptions } from './prompt/p-tuning-v2.js';
export { quantiseFourBit, storedBytes } from './qlora/four-bit.js';
export { quantiseInt8 } from './qlora/int8.js';
export { readQuantization } from './qlora/read-quantization.js';
export { baseNumbers, baseStorage, quantizationOf, type QuantizationOptions } from './qlora/quantization.js';
export { qlora, qloraStrategy, type QloraOptions } from './qlora/qlora.js';
export { dynamicCode, fourBitCodes, type FourBitType } from './qlora/code-tables.js';
export { replay, replayStrategy, type ReplayOptions } from './replay/replay.js';

/** Every strategy of this package, for a registry. */
export const strategies = [full, frozenLayers, lora, qlora, pTuningV2, ewc, replay, hardSamples];
export default strategies;
