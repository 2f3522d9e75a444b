import { resolve } from 'node:path';
import { definePlugin } from '@whetstone/core/contract';

const configSchema = {
  type: 'object',
  properties: {
    virtualTokens: { type: 'integer', minimum: 1, default: 20, description: 'Number of trained tokens.' },
    depth: {
      enum: ['every-layer', 'input'],
      default: 'every-layer',
      description:
        'every-layer: trains keys and values of every layer (prefix tuning). input: trains virtual tokens before ' +
        'the text (prompt tuning).',
    },
    projection: {
      type: 'boolean',
      default: false,
      description: 'Train the prefix through a two-layer MLP; only its output is saved.',
    },
    encoderHiddenSize: {
      type: 'integer',
      minimum: 1,
      description: 'Hidden size of the MLP. Default: the size of one key.',
    },
    adapter: {
      type: ['string', 'null'],
      minLength: 1,
      default: null,
      description: 'Folder of a prefix or prompt whose training continues. It decides virtualTokens and depth.',
    },
    init: {
      enum: ['random', 'zero', 'vocabulary'],
      default: 'random',
      description: 'Initial values. vocabulary: embeddings of random tokens; requires depth `input`.',
    },
  },
  additionalProperties: false,
} as const;

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
    peftTypes: ['PREFIX_TUNING', 'PROMPT_TUNING'],
    load: async (model, files) => (await import('./adapter.js')).preparePrompt(model, files),
  },
  create: async ({ adapter, ...options }, { baseFolder }) => {
    const { prefixStrategy } = await import('./p-tuning-v2.js');
    return prefixStrategy({ ...options, adapter: adapter === null ? null : resolve(baseFolder, adapter) });
  },
});
