import { definePlugin } from '@whetstone/core/contract';
import { PERSONAL_DATA_KINDS } from '../../choices.js';

export const redactPlugin = definePlugin({
  apiVersion: 1,
  kind: 'data-transform',
  name: 'redact',
  description:
    'Puts placeholders in the place of e-mail addresses, phone, card and identity numbers, addresses and names.',
  configSchema: {
    type: 'object',
    additionalProperties: false,
    properties: {
      kinds: {
        type: 'array',
        items: { enum: [...PERSONAL_DATA_KINDS] },
        default: [...PERSONAL_DATA_KINDS],
        description: 'What is looked for.',
      },
      countries: {
        type: 'array',
        items: { type: 'string', pattern: '^[A-Z]{2}$' },
        default: ['CN', 'US', 'GB'],
        description: 'Countries (ISO 3166) whose phone numbers are recognised without a country code.',
      },
      action: {
        enum: ['redact', 'drop'],
        default: 'redact',
        description: 'Put placeholders in, or take the conversation out.',
      },
    },
  } as const,
  create: async (options) => {
    const { createRedactTransform } = await import('./transform.js');
    return createRedactTransform(options);
  },
});
