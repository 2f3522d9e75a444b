import type { FromSchema } from '@whetstone/core/contract';

const patterns = { type: 'array', items: { type: 'string', minLength: 1 } } as const;

/** The schema of the options. */
export const configSchema = {
  type: 'object',
  properties: {
    trainLastLayers: {
      type: 'integer',
      minimum: 0,
      description: 'Train only the last k layers. Default: 2, unless freezeFirstLayers is set.',
    },
    freezeFirstLayers: { type: 'integer', minimum: 0, description: 'Freeze the first k layers and train the others.' },
    embeddings: { type: 'boolean', default: false, description: 'Train token and position embeddings.' },
    head: {
      type: 'boolean',
      description: 'Train the output layer. Default: true, unless it is tied to frozen embeddings.',
    },
    finalNorm: { type: 'boolean', default: false, description: 'Train the norm before the output layer.' },
    train: {
      ...patterns,
      default: [],
      description: 'Additional parameters to train: regular expressions that match the full name.',
    },
    freeze: {
      ...patterns,
      default: [],
      description:
        'Additional parameters to freeze: regular expressions that match the full name. Takes precedence over `train`.',
    },
    unfreezeEverySteps: {
      type: 'integer',
      minimum: 1,
      description:
        'Gradual unfreezing: train only the topmost layer at first, and one more layer after this number of steps.',
    },
    cacheFrozenPrefix: {
      anyOf: [
        { type: 'boolean' },
        {
          type: 'object',
          properties: {
            maxMemoryMegabytes: {
              type: 'number',
              minimum: 0,
              description: 'Maximum host memory for cached states. Default: 1024.',
            },
            maxDiskMegabytes: {
              type: 'number',
              minimum: 0,
              description: 'Maximum size of a temporary file for further states. Default: 0.',
            },
          },
          additionalProperties: false,
        },
      ],
      default: false,
      description:
        'Cache the output of the frozen layers for each sample, so that later epochs and evaluations start at the ' +
        'first trained layer.',
    },
  },
  additionalProperties: false,
} as const;

/** The options of `frozen-layers`. */
export type FrozenLayersOptions = FromSchema<typeof configSchema>;
