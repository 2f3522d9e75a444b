/** The built-in strategies, and what adapters need beyond training. */
import { frozenLayers } from './frozen-layers.js';
import { full } from './full.js';
import { lora } from './lora/lora.js';

export { frozenLayers, frozenLayersStrategy, type FrozenLayersOptions } from './frozen-layers.js';
export { full, fullStrategy } from './full.js';
export { lora, loraStrategy } from './lora/lora.js';
export { defaultLoraOptions, type LoraOptions } from './lora/options.js';

/** Every strategy of this package, for a registry. */
export const strategies = [full, frozenLayers, lora];
export default strategies;
