import type { FromSchema } from '@whetstone/core/contract';
import { compilePattern } from '../support/compile-pattern.js';

const names = { type: 'array', items: { type: 'string', minLength: 1 }, minItems: 1 } as const;

/** Options of `lora`: PEFT's names in camelCase, with PEFT's defaults. */
export const loraConfigSchema = {
  type: 'object',
  properties: {
    rank: { type: 'integer', minimum: 1, default: 8, description: 'Rank r of the update B·A.' },
    alpha: {
      type: 'number',
      exclusiveMinimum: 0,
      default: 8,
      description: 'Scale of the update: alpha ÷ rank, or alpha ÷ √rank with rsLoRA.',
    },
    dropout: {
      type: 'number',
      minimum: 0,
      exclusiveMaximum: 1,
      default: 0,
      description: "Dropout rate of the adapter's input in training.",
    },
    targetModules: {
      anyOf: [{ type: 'string', minLength: 1 }, names],
      default: 'all-linear',
      description:
        'Module names (the full path, or its end after a dot), a regular expression for full paths, or ' +
        '`all-linear`: every linear layer except the output layer.',
    },
    excludeModules: {
      anyOf: [{ type: 'string', minLength: 1 }, names, { type: 'null' }],
      default: null,
      description: 'Modules that are not adapted; matched like targetModules.',
    },
    layersToTransform: {
      anyOf: [
        { type: 'integer', minimum: 0 },
        { type: 'array', items: { type: 'integer', minimum: 0 } },
        { type: 'null' },
      ],
      default: null,
      description:
        'Indices of the layers to adapt, 0-based. A module that targetModules lists with its full path is adapted in ' +
        'any layer.',
    },
    layersPattern: {
      anyOf: [{ type: 'string' }, names, { type: 'null' }],
      default: null,
      description: 'Name of the list of layers, if it is not detected automatically.',
    },
    rankPattern: {
      type: 'object',
      additionalProperties: { type: 'integer', minimum: 1 },
      default: {},
      description: 'Ranks of particular modules: name or regular expression → rank.',
    },
    alphaPattern: {
      type: 'object',
      additionalProperties: { type: 'number', exclusiveMinimum: 0 },
      default: {},
      description: 'Alphas of particular modules: name or regular expression → alpha.',
    },
    modulesToSave: {
      anyOf: [names, { type: 'null' }],
      default: null,
      description: 'Modules to train completely and save with the adapter, such as `lm_head` or `embed_tokens`.',
    },
    trainableTokenIndices: {
      anyOf: [{ type: 'array', items: { type: 'integer', minimum: 0 }, uniqueItems: true }, { type: 'null' }],
      default: null,
      description:
        'Tokens whose embeddings are also trained, and their rows of an untied head. null: the tokens of ' +
        'model.addTokens.',
    },
    useRslora: { type: 'boolean', default: false, description: 'Scale by alpha ÷ √rank (rsLoRA, Kalajdzievski 2023).' },
    useDora: {
      type: 'boolean',
      default: false,
      description: 'Train magnitude and direction separately (DoRA, Liu et al. 2024).',
    },
    bias: {
      enum: ['none', 'all', 'lora_only'],
      default: 'none',
      description: 'Which biases to train: none, all, or those of the adapted modules.',
    },
    initLoraWeights: {
      enum: [true, 'gaussian', 'pissa'],
      default: true,
      description:
        'true: Kaiming-uniform A and zero B. gaussian: normal A with deviation 1 ÷ rank. pissa: the principal ' +
        'singular vectors of the weight (Meng et al. 2024).',
    },
    adapter: {
      type: ['string', 'null'],
      minLength: 1,
      default: null,
      description:
        'Folder of an adapter whose training continues, written by PEFT or mlx-lm. It decides rank, alpha and targets.',
    },
    loraPlusRatio: {
      type: ['number', 'null'],
      exclusiveMinimum: 0,
      default: null,
      description:
        'Ratio of the learning rate of B and of vectors (biases, norms, magnitudes) to that of A (LoRA+, Hayou et ' +
        'al. 2024).',
    },
  },
  additionalProperties: false,
} as const;

/** The options of one LoRA adapter. `adapter` is an absolute path. */
export type LoraOptions = FromSchema<typeof loraConfigSchema>;

/**
 * Returns the value of the first pattern that matches the module's path or its end after a dot, as PEFT does;
 * `otherwise` if none matches.
 */
export function valueByPattern<T extends number | null>(
  patterns: Readonly<Record<string, number>>,
  name: string,
  otherwise: T,
  path: string,
): number | T {
  for (const [key, value] of Object.entries(patterns)) {
    if (compilePattern(`^(.*\\.)?(${key})$`, `${path}.${key}`, key).test(name)) return value;
  }
  return otherwise;
}

const optionPaths = { rank: 'strategy.options.rankPattern', alpha: 'strategy.options.alphaPattern' };

/**
 * Returns the rank of a module, and the scale of its update: alpha ÷ rank, or alpha ÷ √rank with rsLoRA.
 *
 * @param paths where the patterns are written, for errors
 */
export function rankAndScale(
  name: string,
  { rank: defaultRank, alpha: defaultAlpha, rankPattern, alphaPattern, useRslora }: LoraOptions,
  paths = optionPaths,
): { readonly rank: number; readonly scale: number } {
  const rank = valueByPattern(rankPattern, name, defaultRank, paths.rank);
  const alpha = valueByPattern(alphaPattern, name, defaultAlpha, paths.alpha);
  return { rank, scale: useRslora ? alpha / Math.sqrt(rank) : alpha / rank };
}
