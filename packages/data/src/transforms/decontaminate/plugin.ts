import { definePlugin } from '@whetstone/core/contract';

export const decontaminatePlugin = definePlugin({
  apiVersion: 2,
  kind: 'data-transform',
  name: 'decontaminate',
  description: 'Removes conversations that share a sequence of words with a benchmark.',
  configSchema: {
    type: 'object',
    additionalProperties: false,
    required: ['benchmarks'],
    properties: {
      benchmarks: {
        type: 'array',
        minItems: 1,
        items: { type: 'string', minLength: 1 },
        description: 'Benchmark files, in any supported layout.',
      },
      words: {
        type: 'integer',
        minimum: 3,
        maximum: 50,
        default: 10,
        description: 'Consecutive words in common that count as an overlap.',
      },
    },
  } as const,
  create: async (options, context) => {
    const { createDecontaminateTransform } = await import('./transform.js');
    return createDecontaminateTransform(options, context.baseFolder);
  },
});
