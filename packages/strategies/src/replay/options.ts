import type { BatchSource, FromSchema, Logger } from '@whetstone/core/contract';

/** The schema of the options. */
export const configSchema = {
  type: 'object',
  properties: {
    ratio: {
      type: 'number',
      exclusiveMinimum: 0,
      exclusiveMaximum: 1,
      default: 0.1,
      description: 'Share of replayed data in training; usually 0.05 to 0.1.',
    },
    unit: { enum: ['sample', 'token'], default: 'sample', description: 'Unit of the ratio.' },
    data: {
      anyOf: [{ type: 'string' }, { type: 'array', items: { type: 'string' }, minItems: 1 }, { type: 'object' }],
      description: 'Earlier or general data, in the format of data.train.',
    },
    bufferFile: {
      type: 'string',
      minLength: 1,
      description:
        'File with a sample of the data of all tasks. It is read at the start. It is written with the data of this ' +
        'run after the first epoch, or after the last step if that is earlier, also if a callback stops the run. If ' +
        'the same data wrote it last, the run starts from the file before that.',
    },
    bufferSize: { type: 'integer', minimum: 1, default: 2000, description: 'Maximum number of samples in the buffer.' },
    priority: {
      enum: ['uniform', 'loss'],
      default: 'uniform',
      description: 'loss: rows on which the model has a high loss at the start are drawn more often.',
    },
  },
  additionalProperties: false,
} as const;

/** The options of `replay`. `bufferFile` is an absolute path. */
export interface ReplayOptions extends Partial<FromSchema<typeof configSchema>> {
  /** Batches to replay, instead of `data`. */
  readonly batches?: BatchSource;
  readonly logger?: Logger;
}
