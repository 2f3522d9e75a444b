import { resolve } from 'node:path';
import { definePlugin } from '@whetstone/core/contract';
import { setOptions } from '../support/set-options.js';
import { loraConfigSchema } from './options.js';

/** The strategy `lora`: low-rank adapters of linear layers (Hu et al. 2021). */
export const lora = definePlugin({
  apiVersion: 2,
  kind: 'strategy',
  name: 'lora',
  description: 'Trains low-rank adapters of linear layers, with rsLoRA, DoRA and LoRA+; saved as a PEFT folder.',
  configSchema: loraConfigSchema,
  adapter: {
    peftTypes: ['LORA'],
    load: async (model, files) => (await import('./adapter.js')).prepareLora(model, files),
    merge: async (model, files) => (await import('./adapter.js')).mergeLora(model, files),
  },
  create: async ({ adapter, ...options }, { baseFolder, isSet }) => {
    const { loraStrategy } = await import('./lora.js');
    return loraStrategy({
      ...setOptions(options, { isSet }),
      adapter: adapter === null ? null : resolve(baseFolder, adapter),
    });
  },
});
