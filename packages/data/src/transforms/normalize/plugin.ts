import { definePlugin } from '@whetstone/core/contract';

const flag = (description: string) => ({ type: 'boolean', default: true, description }) as const;

export const normalizeTextPlugin = definePlugin({
  apiVersion: 1,
  kind: 'data-transform',
  name: 'normalize-text',
  description: 'Unicode, widths, quotes, spaces and repeated marks as they should be, in Chinese and English.',
  configSchema: {
    type: 'object',
    additionalProperties: false,
    properties: {
      unicode: { enum: ['NFC', 'NFKC', 'none'], default: 'NFC', description: 'The normal form of Unicode.' },
      invisible: flag('Take out control characters and characters of no width.'),
      widths: flag('Full-width letters as common ones; punctuation as wide as the writing around it.'),
      quotes: flag('Straight quotes, except in Chinese and Japanese.'),
      spaces: flag('One common space where there are several or strange ones.'),
      repeatedMarks: flag('One mark where the same one is repeated.'),
    },
  } as const,
  create: async (options) => {
    const { createNormalizeTransform } = await import('./transform.js');
    return createNormalizeTransform(options);
  },
});
