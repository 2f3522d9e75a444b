import { definePlugin } from '@whetstone/core/contract';

const flag = (description: string) => ({ type: 'boolean', default: true, description }) as const;

export const normalizeTextPlugin = definePlugin({
  apiVersion: 2,
  kind: 'data-transform',
  name: 'normalize-text',
  description: 'Normalizes Unicode, character widths, quotes, spaces and repeated marks, in Chinese and English.',
  configSchema: {
    type: 'object',
    additionalProperties: false,
    properties: {
      unicode: { enum: ['NFC', 'NFKC', 'none'], default: 'NFC', description: 'The normal form of Unicode.' },
      invisible: flag('Remove control characters and zero-width characters.'),
      widths: flag('Convert full-width letters to half width, and punctuation to the width of the text around it.'),
      quotes: flag('Convert quotes to straight quotes, except in Chinese and Japanese.'),
      spaces: flag('Replace repeated and special spaces by one space.'),
      repeatedMarks: flag('Replace repeated marks by one mark.'),
    },
  } as const,
  create: async (options) => {
    const { createNormalizeTransform } = await import('./transform.js');
    return createNormalizeTransform(options);
  },
});
