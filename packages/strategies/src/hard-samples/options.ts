import type { FromSchema } from '@whetstone/core/contract';

/** The schema of the options. */
export const configSchema = {
  type: 'object',
  properties: {
    ratio: {
      type: 'number',
      exclusiveMinimum: 0,
      maximum: 0.5,
      default: 0.1,
      description: 'Share of repeated hard samples in training.',
    },
    everyBatches: {
      type: 'integer',
      minimum: 1,
      default: 100,
      description: 'Number of batches between two measurements of losses.',
    },
    poolSize: {
      type: 'integer',
      minimum: 1,
      maximum: 4096,
      default: 256,
      description: 'Number of samples whose losses are measured: a random selection of all distinct samples so far.',
    },
    maxWeight: {
      type: 'number',
      minimum: 1,
      default: 3,
      description: 'Maximum probability of a sample relative to the mean.',
    },
    maxRepeats: {
      type: 'integer',
      minimum: 1,
      default: 2,
      description: 'Maximum number of repetitions of a sample between two measurements.',
    },
    ignoreHardest: {
      type: 'number',
      minimum: 0,
      exclusiveMaximum: 1,
      default: 0.05,
      description: 'Share of the hardest samples that are excluded, because wrong labels also have a high loss.',
    },
  },
  additionalProperties: false,
} as const;

/** The options of `hard-samples`. */
export type HardSamplesOptions = FromSchema<typeof configSchema>;
