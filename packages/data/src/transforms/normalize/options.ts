import type { FromSchema } from '@whetstone/core/contract';

const flag = (description: string) => ({ type: 'boolean', default: true, description }) as const;

/** The schema of {@link NormalizeOptions}. */
export const normalizeSchema = {
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
} as const;

/** The rules of the transform `normalize-text`. */
export interface NormalizeOptions extends FromSchema<typeof normalizeSchema> {}
