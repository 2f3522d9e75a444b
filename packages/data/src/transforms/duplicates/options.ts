import { defaultsOf, type FromSchema } from '@whetstone/core/contract';
import { DUPLICATE_PARTS } from '../../choices.js';

/** The schema of {@link DeduplicateOptions}. */
export const deduplicateSchema = {
  type: 'object',
  additionalProperties: false,
  properties: {
    part: {
      enum: [...DUPLICATE_PARTS],
      default: 'conversation',
      description: 'The part of conversations that is compared.',
    },
    near: { type: 'boolean', default: true, description: 'Also remove near duplicates.' },
    threshold: {
      type: 'number',
      minimum: 0.3,
      maximum: 1,
      default: 0.7,
      description: 'The least similarity of near duplicates.',
    },
    shingle: {
      type: 'integer',
      minimum: 2,
      maximum: 20,
      default: 4,
      description: 'Characters per shingle; half as many for Chinese, Japanese and Korean.',
    },
    against: {
      anyOf: [
        { type: 'string', minLength: 1 },
        { type: 'array', items: { type: 'string', minLength: 1 } },
      ],
      default: [],
      description: 'Files of evaluation data that must not be repeated: a path, or a list of paths.',
    },
    onLeak: {
      enum: ['error', 'drop'],
      default: 'error',
      description: 'What happens to a conversation that repeats evaluation data.',
    },
  },
} as const;

/** The options of the transform `deduplicate`. */
export interface DeduplicateOptions extends FromSchema<typeof deduplicateSchema> {}

/** The options that decide which conversations are duplicates. */
export type DuplicateOptions = Omit<DeduplicateOptions, 'against' | 'onLeak'>;

/** The defaults of `deduplicate`, which every other search for duplicates has, too. */
export const defaultDuplicateOptions: DuplicateOptions = defaultsOf(deduplicateSchema);
