/** The built-in strategies: names and options. Their implementation is imported when a strategy is created. */
import type { AdapterFormat } from '@whetstone/core/contract';
import { ewc } from './ewc/plugin.js';
import { frozenLayers } from './frozen-layers/plugin.js';
import { full } from './full/plugin.js';
import { hardSamples } from './hard-samples/plugin.js';
import { ia3 } from './ia3/format.js';
import { lora } from './lora/plugin.js';
import { pTuningV2 } from './prompt/plugin.js';
import { qlora } from './qlora/plugin.js';
import { replay } from './replay/plugin.js';

/** The built-in strategies, to add to a registry. */
export const strategies = [full, frozenLayers, lora, qlora, pTuningV2, ewc, replay, hardSamples];

/** Formats of adapters that no built-in strategy trains. */
export const furtherFormats: readonly AdapterFormat[] = [ia3];
