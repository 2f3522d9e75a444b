import type { FromSchema } from '@whetstone/core/contract';

/** The schema of the options. */
export const configSchema = {
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

/** The options of `p-tuning-v2`. `adapter` is an absolute path. */
export type PrefixOptions = FromSchema<typeof configSchema>;
