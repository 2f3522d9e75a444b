import { resolve } from 'node:path';
import { definePlugin } from '@whetstone/core/contract';
import type { ReplayOptions } from './replay.js';

const configSchema = {
  type: 'object',
  properties: {
    ratio: {
      type: 'number',
      exclusiveMinimum: 0,
      exclusiveMaximum: 1,
      default: 0.1,
      description: 'Share of replayed data in training; 0.05 to 0.1 is usual.',
    },
    unit: { enum: ['sample', 'token'], default: 'sample', description: 'What the ratio counts.' },
    data: {
      anyOf: [{ type: 'string' }, { type: 'array', items: { type: 'string' }, minItems: 1 }, { type: 'object' }],
      description: 'Earlier or general data, as data.train is given.',
    },
    bufferFile: {
      type: 'string',
      minLength: 1,
      description:
        "Keeps a sample of all data seen, task after task: read at the start, and written with this run's data " +
        'in it after the first epoch, or at the last step where that comes before.',
    },
    bufferSize: { type: 'integer', minimum: 1, default: 2000, description: 'Samples that are kept at most.' },
    priority: {
      enum: ['uniform', 'loss'],
      default: 'uniform',
      description: 'loss: rows on which the model has the greater loss at the start are drawn more often.',
    },
  },
  additionalProperties: false,
} as const;

/** The strategy `replay`: mixes earlier data into training, a companion of any owner. */
export const replay = definePlugin({
  apiVersion: 1,
  kind: 'strategy',
  name: 'replay',
  description: 'Mixes earlier or general data into training, beside any other strategy.',
  configSchema,
  create: async ({ bufferFile, ...options }, { baseFolder }) => {
    const { replayStrategy } = await import('./replay.js');
    return replayStrategy({
      ...options,
      ...(bufferFile === undefined ? {} : { bufferFile: resolve(baseFolder, bufferFile) }),
    } as ReplayOptions);
  },
});
