import { definePlugin } from '@whetstone/core/contract';
import { redactSchema } from './options.js';

export const redact = definePlugin({
  apiVersion: 2,
  kind: 'data-transform',
  name: 'redact',
  description:
    'Replaces e-mail addresses, phone, card and identity numbers, postal addresses and names by placeholders.',
  configSchema: redactSchema,
  create: async (options) => {
    const { createRedactTransform } = await import('./transform.js');
    return createRedactTransform(options);
  },
});
