/**
 * The built-in strategies, and adapters after training. Whetstone's own packages also import `./internal.js`.
 *
 * @module @whetstone/strategies
 */
import { strategies } from './plugins.js';

export { createAdapterSet } from './adapters/adapter-set.js';
export { loadAdapter, type LoadedAdapter } from './adapters/load-adapter.js';
export { mergeAdapter } from './adapters/merge-adapter.js';
export { readAdapterFolder } from './adapters/read-adapter-folder.js';
export { ewc } from './ewc/plugin.js';
export { frozenLayers } from './frozen-layers/plugin.js';
export { full } from './full/plugin.js';
export { hardSamples } from './hard-samples/plugin.js';
export { lora } from './lora/plugin.js';
export { pTuningV2 } from './prompt/plugin.js';
export { qlora } from './qlora/plugin.js';
export { replay } from './replay/plugin.js';
export { strategies };
export default strategies;
