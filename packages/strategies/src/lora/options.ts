import { WhetstoneError } from '@whetstone/core/contract';

const names = { type: 'array', items: { type: 'string', minLength: 1 }, minItems: 1 } as const;

/** Options of `lora`: PEFT's names in camelCase, with PEFT's defaults where it has them. */
export const loraConfigSchema = {
  type: 'object',
  properties: {
    rank: { type: 'integer', minimum: 1, default: 8, description: 'Rank r of the update B·A.' },
    alpha: {
      type: 'number',
      exclusiveMinimum: 0,
      default: 8,
      description: 'The update is scaled by alpha / rank, or alpha / √rank under rsLoRA.',
    },
    dropout: {
      type: 'number',
      minimum: 0,
      exclusiveMaximum: 1,
      default: 0,
      description: "Dropout of the adapter's input while training.",
    },
    targetModules: {
      anyOf: [{ type: 'string', minLength: 1 }, names],
      default: 'all-linear',
      description:
        'Names (equal, or the end of the path after a dot), a regular expression for whole paths, or ' +
        '`all-linear`: every linear layer but the output layer.',
    },
    excludeModules: {
      anyOf: [{ type: 'string', minLength: 1 }, names, { type: 'null' }],
      default: null,
      description: 'Modules to leave out; matched as targetModules.',
    },
    layersToTransform: {
      anyOf: [
        { type: 'integer', minimum: 0 },
        { type: 'array', items: { type: 'integer', minimum: 0 } },
        { type: 'null' },
      ],
      default: null,
      description: 'Only these layers, 0-based; for targetModules given as names.',
    },
    layersPattern: {
      anyOf: [{ type: 'string' }, names, { type: 'null' }],
      default: null,
      description: 'Name of the list of layers, where it is not found by itself.',
    },
    rankPattern: {
      type: 'object',
      additionalProperties: { type: 'integer', minimum: 1 },
      default: {},
      description: 'Other ranks by module: name or regular expression → rank.',
    },
    alphaPattern: {
      type: 'object',
      additionalProperties: { type: 'number', exclusiveMinimum: 0 },
      default: {},
      description: 'Other alphas by module.',
    },
    modulesToSave: {
      anyOf: [names, { type: 'null' }],
      default: null,
      description: 'Modules to train whole and save with the adapter, as `lm_head` or `embed_tokens`.',
    },
    trainableTokenIndices: {
      anyOf: [{ type: 'array', items: { type: 'integer', minimum: 0 }, uniqueItems: true }, { type: 'null' }],
      default: null,
      description:
        'Tokens whose embeddings are trained besides (and their rows of an untied head); null: those of ' +
        'model.addTokens.',
    },
    useRslora: { type: 'boolean', default: false, description: 'Scale by alpha / √rank (Kalajdzievski 2023).' },
    useDora: { type: 'boolean', default: false, description: 'Learn magnitude and direction apart (Liu et al. 2024).' },
    bias: { enum: ['none', 'all', 'lora_only'], default: 'none', description: 'Which biases to train.' },
    initLoraWeights: {
      enum: [true, 'gaussian', 'pissa'],
      default: true,
      description:
        'true: Kaiming-uniform A and zero B; gaussian: normal A with deviation 1/rank; pissa: principal ' +
        'singular values.',
    },
    adapter: {
      type: ['string', 'null'],
      minLength: 1,
      default: null,
      description:
        "Folder of an adapter to train on, PEFT's or mlx-lm's: it decides rank, alpha, targets and the like.",
    },
    loraPlusRatio: {
      type: ['number', 'null'],
      exclusiveMinimum: 0,
      default: null,
      description:
        'Learning rate of B, and of vectors (biases, norms, magnitudes), over that of A (LoRA+, Hayou et al. 2024).',
    },
  },
  additionalProperties: false,
} as const;

/** Resolved options of one LoRA adapter. */
export interface LoraOptions {
  readonly rank: number;
  readonly alpha: number;
  readonly dropout: number;
  readonly targetModules: string | readonly string[];
  readonly excludeModules: string | readonly string[] | null;
  readonly layersToTransform: number | readonly number[] | null;
  readonly layersPattern: string | readonly string[] | null;
  readonly rankPattern: Readonly<Record<string, number>>;
  readonly alphaPattern: Readonly<Record<string, number>>;
  readonly modulesToSave: readonly string[] | null;
  readonly trainableTokenIndices: readonly number[] | null;
  readonly useRslora: boolean;
  readonly useDora: boolean;
  readonly bias: 'none' | 'all' | 'lora_only';
  readonly initLoraWeights: true | 'gaussian' | 'pissa';
  readonly loraPlusRatio: number | null;
  /** Absolute folder of an adapter to train on; it decides what would else be given here. */
  readonly adapter: string | null;
}

export const defaultLoraOptions: LoraOptions = {
  rank: 8,
  alpha: 8,
  dropout: 0,
  targetModules: 'all-linear',
  excludeModules: null,
  layersToTransform: null,
  layersPattern: null,
  rankPattern: {},
  alphaPattern: {},
  modulesToSave: null,
  trainableTokenIndices: null,
  useRslora: false,
  useDora: false,
  bias: 'none',
  initLoraWeights: true,
  loraPlusRatio: null,
  adapter: null,
};

/** Scale of the update: alpha / r, or alpha / √r under rsLoRA. */
export function loraScale(alpha: number, rank: number, useRslora: boolean): number {
  return useRslora ? alpha / Math.sqrt(rank) : alpha / rank;
}

/** Compiles a pattern of the options, or says which one is no regular expression. */
export function compilePattern(source: string, path: string): RegExp {
  try {
    return new RegExp(source);
  } catch (cause) {
    throw new WhetstoneError('CONFIG_INVALID', 'A pattern is not a regular expression.', {
      place: { path },
      found: source,
      cause,
    });
  }
}

/**
 * The value that `patterns` give a module: the first key that equals the path or matches its end after a dot, as PEFT
 * does it.
 */
export function valueByPattern(
  patterns: Readonly<Record<string, number>>,
  name: string,
  otherwise: number,
  path: string,
): number {
  for (const [key, value] of Object.entries(patterns)) {
    if (compilePattern(`^(.*\\.)?(${key})$`, `${path}.${key}`).test(name)) return value;
  }
  return otherwise;
}
