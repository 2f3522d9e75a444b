import { definePlugin } from '@whetstone/core/contract';

const configSchema = {
  type: 'object',
  properties: {
    ratio: {
      type: 'number',
      exclusiveMinimum: 0,
      maximum: 0.5,
      default: 0.1,
      description: 'Share of hard samples, shown again, in training.',
    },
    everyBatches: {
      type: 'integer',
      minimum: 1,
      default: 100,
      description: 'Batches between two measurements of losses.',
    },
    poolSize: {
      type: 'integer',
      minimum: 1,
      maximum: 4096,
      default: 256,
      description: 'Samples that are watched: a random part of those seen.',
    },
    maxWeight: {
      type: 'number',
      minimum: 1,
      default: 3,
      description: 'A sample is at most this many times as likely as the mean one.',
    },
    maxRepeats: {
      type: 'integer',
      minimum: 1,
      default: 2,
      description: 'Times that a sample is shown again at most between two measurements.',
    },
    ignoreHardest: {
      type: 'number',
      minimum: 0,
      exclusiveMaximum: 1,
      default: 0.05,
      description: 'Share of the very hardest that is left out: wrong labels are hard, too.',
    },
  },
  additionalProperties: false,
} as const;

/** The strategy `hard-samples`: shows samples of high loss again, a companion of any owner. */
export const hardSamples = definePlugin({
  apiVersion: 1,
  kind: 'strategy',
  name: 'hard-samples',
  description:
    'Shows samples on which the model has the greater loss more often, within bounds, beside any other strategy.',
  configSchema,
  create: async (options) => {
    const { hardSamplesStrategy } = await import('./hard-samples.js');
    return hardSamplesStrategy(options);
  },
});
