import { definePlugin } from '@whetstone/core/contract';
import { PERSONAL_DATA_KINDS } from '../../choices.js';

export const redactPlugin = definePlugin({
  apiVersion: 2,
  kind: 'data-transform',
  name: 'redact',
  description:
    'Replaces e-mail addresses, phone, card and identity numbers, postal addresses and names by placeholders.',
  configSchema: {
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
  } as const,
  create: async (options) => {
    const { createRedactTransform } = await import('./transform.js');
    return createRedactTransform(options);
  },
});
