import { resolve } from 'node:path';
import { definePlugin, WhetstoneError } from '@whetstone/core/contract';
import { loraConfigSchema } from '../lora/options.js';

const { initLoraWeights, ...loraProperties } = loraConfigSchema.properties;

const configSchema = {
  type: 'object',
  properties: {
    quantType: {
      enum: ['nf4', 'fp4', 'int8'],
      default: 'nf4',
      description:
        'Storage of base weights: 4 bits (NormalFloat or floating point) in blocks of 64, or 8 bits with one scale ' +
        'per row.',
    },
    doubleQuantization: {
      type: 'boolean',
      default: true,
      description: 'Quantise the scales of 4-bit blocks too: 0.52 instead of 0.56 bytes per parameter.',
    },
    blockSize: { enum: [64], default: 64, description: 'Number of 4-bit values that share a scale.' },
    computeDtype: {
      enum: ['float32', 'bfloat16', null],
      default: null,
      description: 'Data type of products with dequantised weights. null: the value of backend.matmul.',
    },
    skipModules: {
      anyOf: [{ type: 'array', items: { type: 'string', minLength: 1 } }, { type: 'null' }],
      default: null,
      description:
        'Modules that are not quantised, by path or the end of the path. The output layer, embeddings and ' +
        'modulesToSave are never quantised.',
    },
    ...loraProperties,
    initLoraWeights: {
      ...initLoraWeights,
      enum: [true, 'gaussian'],
      description: 'true: Kaiming-uniform A and zero B. gaussian: normal A with deviation 1 ÷ rank.',
    },
  },
  additionalProperties: false,
} as const;

/** The strategy `qlora`: low-rank adapters of a quantised base (Dettmers et al. 2023). */
export const qlora = definePlugin({
  apiVersion: 2,
  kind: 'strategy',
  name: 'qlora',
  description: 'Trains low-rank adapters of a base in 4 or 8 bits (NF4, FP4, int8); saved as a PEFT folder.',
  configSchema,
  create: async ({ blockSize, adapter, ...options }, { baseFolder }) => {
    if (blockSize !== 64)
      throw new WhetstoneError('CONFIG_INVALID', 'Only blocks of 64 values are supported.', {
        place: { path: 'strategy.options.blockSize' },
        found: String(blockSize),
      });
    const { qloraStrategy } = await import('./qlora.js');
    return qloraStrategy({ ...options, adapter: adapter === null ? null : resolve(baseFolder, adapter) });
  },
});
