import type { FromSchema } from '@whetstone/core/contract';

/** The schema of {@link DecontaminateOptions}. */
export const decontaminateSchema = {
  type: 'object',
  additionalProperties: false,
  required: ['benchmarks'],
  properties: {
    benchmarks: {
      anyOf: [
        { type: 'string', minLength: 1 },
        { type: 'array', minItems: 1, items: { type: 'string', minLength: 1 } },
      ],
      description: 'Benchmark files, in any supported layout: a path, or a list of paths.',
    },
    words: {
      type: 'integer',
      minimum: 3,
      maximum: 50,
      default: 10,
      description:
        'Consecutive words in common that count as an overlap; a Chinese, Japanese or Korean character is a word.',
    },
  },
} as const;

/** The options of the transform `decontaminate`. */
export interface DecontaminateOptions extends FromSchema<typeof decontaminateSchema> {}
