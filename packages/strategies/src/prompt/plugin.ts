import { resolve } from 'node:path';
import { definePlugin } from '@whetstone/core/contract';
import { setOptions } from '../support/set-options.js';
import { configSchema } from './options.js';

/** The strategy `p-tuning-v2`: trains a prefix of every layer, or virtual tokens at the input (Liu et al. 2022). */
export const pTuningV2 = definePlugin({
  apiVersion: 2,
  kind: 'strategy',
  name: 'p-tuning-v2',
  description:
    "Trains key and value prefixes in every layer, or virtual tokens before the text; saved in PEFT's format " +
    'PREFIX_TUNING or PROMPT_TUNING.',
  configSchema,
  adapter: {
    peftTypes: ['PREFIX_TUNING', 'PROMPT_TUNING', 'P_TUNING'],
    load: async (model, files) => (await import('./adapter.js')).preparePrompt(model, files),
  },
  create: async ({ adapter, ...options }, { baseFolder, isSet }) => {
    const { prefixStrategy } = await import('./p-tuning-v2.js');
    return prefixStrategy({
      ...setOptions(options, { isSet }),
      adapter: adapter === null ? null : resolve(baseFolder, adapter),
    });
  },
});
