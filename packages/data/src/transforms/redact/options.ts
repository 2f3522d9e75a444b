import type { FromSchema } from '@whetstone/core/contract';
import { PERSONAL_DATA_KINDS } from '../../choices.js';

/** The schema of {@link RedactOptions}. */
export const redactSchema = {
  type: 'object',
  additionalProperties: false,
  properties: {
    kinds: {
      type: 'array',
      items: { enum: [...PERSONAL_DATA_KINDS] },
      default: [...PERSONAL_DATA_KINDS],
      description: 'The kinds of personal data to detect.',
    },
    countries: {
      type: 'array',
      items: { type: 'string', pattern: '^[A-Z]{2}$' },
      default: ['CN', 'US', 'GB'],
      description: 'Countries (ISO 3166) whose phone numbers are recognized without a country code.',
    },
    action: {
      enum: ['redact', 'drop'],
      default: 'redact',
      description: 'Replace personal data by placeholders, or remove the conversation.',
    },
  },
} as const;

/** The options of the transform `redact`. */
export interface RedactOptions extends FromSchema<typeof redactSchema> {}

/** The options that decide what is personal data. */
export type DetectOptions = Omit<RedactOptions, 'action'>;
