import { resolve } from 'node:path';
import { definePlugin } from '@whetstone/core/contract';
import type { EwcOptions } from './ewc.js';

const configSchema = {
  type: 'object',
  properties: {
    lambda: { type: 'number', minimum: 0, default: 100, description: 'Weight of the penalty λ/2·ΣF(θ−θ*)².' },
    data: {
      anyOf: [{ type: 'string' }, { type: 'array', items: { type: 'string' }, minItems: 1 }, { type: 'object' }],
      description: 'Data of the old task, as data.train is given.',
    },
    samples: {
      type: 'integer',
      minimum: 1,
      default: 200,
      description: 'Samples that the Fisher information is estimated from.',
    },
    batchSize: {
      type: 'integer',
      minimum: 1,
      default: 1,
      description: '1: exact, sample by sample; more: faster, estimated from gradients of batches.',
    },
    on: {
      enum: ['parameters', 'effective-weights'],
      default: 'parameters',
      description: "What is held: the trained parameters, or, over adapters, what they make of the base's weights.",
    },
    fisherFile: {
      type: 'string',
      minLength: 1,
      description: 'Keeps the Fisher information and the anchor: reused where it fits, else written.',
    },
    onlineDecay: {
      type: 'number',
      minimum: 0,
      maximum: 1,
      default: 1,
      description: 'What of earlier tasks in fisherFile is kept when a new one is added (online EWC).',
    },
    reportEverySteps: {
      type: 'integer',
      minimum: 0,
      default: 10,
      description: 'Report the loss on the old task as `retainedLoss` this often; 0: never.',
    },
  },
  additionalProperties: false,
} as const;

/** The strategy `ewc`: elastic weight consolidation (Kirkpatrick et al. 2017), a companion of any owner. */
export const ewc = definePlugin({
  apiVersion: 1,
  kind: 'strategy',
  name: 'ewc',
  description: 'Elastic weight consolidation: keeps what mattered to an old task, beside any other strategy.',
  configSchema,
  create: async ({ fisherFile, ...options }, { baseFolder, logger }) => {
    const { ewcStrategy } = await import('./ewc.js');
    return ewcStrategy({
      ...options,
      logger,
      ...(fisherFile === undefined ? {} : { fisherFile: resolve(baseFolder, fisherFile) }),
    } as EwcOptions);
  },
});
