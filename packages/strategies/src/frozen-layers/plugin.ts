import { definePlugin } from '@whetstone/core/contract';
import type { FrozenLayersOptions } from './frozen-layers.js';

const patterns = { type: 'array', items: { type: 'string', minLength: 1 } } as const;

const configSchema = {
  type: 'object',
  properties: {
    trainLastLayers: {
      type: 'integer',
      minimum: 0,
      description: 'Train only the last k layers; 2 where freezeFirstLayers is not given either.',
    },
    freezeFirstLayers: { type: 'integer', minimum: 0, description: 'Freeze the first k layers and train those above.' },
    embeddings: { type: 'boolean', default: false, description: 'Train token and position embeddings.' },
    head: {
      type: 'boolean',
      description: 'Train the output layer. By default: yes, unless it is tied to the embeddings and those are frozen.',
    },
    finalNorm: { type: 'boolean', default: false, description: 'Train the norm before the output layer.' },
    train: {
      ...patterns,
      default: [],
      description: 'Parameters to train whatever the rest says: regular expressions that match the whole name.',
    },
    freeze: {
      ...patterns,
      default: [],
      description: 'Parameters to freeze whatever the rest says; stronger than `train`.',
    },
    unfreezeEverySteps: {
      type: 'integer',
      minimum: 1,
      description:
        'Gradual unfreezing: begin with the topmost trained layer and take in one layer more after this many steps.',
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
              description: 'Host memory that kept states may take; 1024 by default.',
            },
            maxDiskMegabytes: {
              type: 'number',
              minimum: 0,
              description: 'What more may go into a temporary file; 0 by default.',
            },
          },
          additionalProperties: false,
        },
      ],
      default: false,
      description:
        'Keep what comes out of the frozen layers for each sample, so that later epochs and evaluations begin ' +
        'at the first trained layer.',
    },
  },
  additionalProperties: false,
} as const;

/** The strategy `frozen-layers`: trains the last layers, or the parameters that patterns select. */
export const frozenLayers = definePlugin({
  apiVersion: 1,
  kind: 'strategy',
  name: 'frozen-layers',
  description: 'Trains the last layers, or what patterns choose, and freezes the rest.',
  configSchema,
  create: async (options, { logger }) => {
    const { frozenLayersStrategy } = await import('./frozen-layers.js');
    return frozenLayersStrategy({ ...options, logger } as FrozenLayersOptions);
  },
});
