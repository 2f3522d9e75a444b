import type { BatchSource, FromSchema, Logger } from '@whetstone/core/contract';

/** The schema of the options. */
export const configSchema = {
  type: 'object',
  properties: {
    lambda: { type: 'number', minimum: 0, default: 100, description: 'Weight λ of the penalty λ/2 · ΣF(θ−θ*)².' },
    data: {
      anyOf: [{ type: 'string' }, { type: 'array', items: { type: 'string' }, minItems: 1 }, { type: 'object' }],
      description: 'Data of the old task, in the format of data.train.',
    },
    samples: {
      type: 'integer',
      minimum: 1,
      default: 200,
      description: 'Number of samples from which the Fisher information is estimated.',
    },
    batchSize: {
      type: 'integer',
      minimum: 1,
      default: 1,
      description: '1: exact, from gradients of single samples. Larger: faster, estimated from gradients of batches.',
    },
    on: {
      enum: ['parameters', 'effective-weights'],
      default: 'parameters',
      description:
        'Weights to which the penalty applies: the trained parameters, or the weights of the base including the ' +
        'adapter.',
    },
    fisherFile: {
      type: 'string',
      minLength: 1,
      description:
        'File with Fisher information and anchor: read if it exists, extended with new data, otherwise written.',
    },
    onlineDecay: {
      type: 'number',
      minimum: 0,
      maximum: 1,
      default: 1,
      description: 'Factor of the earlier tasks in fisherFile if a new one is added (online EWC).',
    },
    reportEverySteps: {
      type: 'integer',
      minimum: 0,
      default: 10,
      description: 'Number of steps between reports of the loss on the old task as `retainedLoss`; 0: never.',
    },
  },
  additionalProperties: false,
} as const;

/** The options of `ewc`. `fisherFile` is an absolute path. */
export interface EwcOptions extends Partial<FromSchema<typeof configSchema>> {
  /** Batches of the old task, instead of `data`. */
  readonly batches?: BatchSource;
  readonly logger?: Logger;
}
