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
        'How base weights are kept: 4 bits (NormalFloat or a small float) in blocks of 64, or 8 bits with a ' +
        'scale a row.',
    },
    doubleQuantization: {
      type: 'boolean',
      default: true,
      description: 'Whether the scales of the 4-bit blocks are quantised too: 0.52 instead of 0.56 bytes a parameter.',
    },
    blockSize: { enum: [64], default: 64, description: 'Numbers that share a scale, in 4 bits.' },
    computeDtype: {
      enum: ['float32', 'bfloat16', null],
      default: null,
      description: 'What dequantised weights are multiplied in; null: as backend.matmul says.',
    },
    skipModules: {
      anyOf: [{ type: 'array', items: { type: 'string', minLength: 1 } }, { type: 'null' }],
      default: null,
      description:
        'Modules that are not quantised, by name or the end of the path. The output layer, embeddings and ' +
        'modulesToSave never are.',
    },
    ...loraProperties,
    initLoraWeights: {
      ...initLoraWeights,
      enum: [true, 'gaussian'],
      description: 'true: Kaiming-uniform A and zero B; gaussian: normal A with deviation 1/rank.',
    },
  },
  additionalProperties: false,
} as const;

/** The strategy `qlora`: low-rank adapters over a quantised base (Dettmers et al. 2023). */
export const qlora = definePlugin({
  apiVersion: 1,
  kind: 'strategy',
  name: 'qlora',
  description: 'Low-rank adapters over a base in 4 or 8 bits (NF4, FP4, int8); saved as a PEFT folder.',
  configSchema,
  create: async ({ blockSize, adapter, ...options }, { baseFolder }) => {
    if (blockSize !== 64)
      throw new WhetstoneError('CONFIG_INVALID', 'Blocks are of 64 numbers.', {
        place: { path: 'strategy.options.blockSize' },
        found: String(blockSize),
      });
    const { qloraStrategy } = await import('./qlora.js');
    return qloraStrategy({ ...options, adapter: adapter === null ? null : resolve(baseFolder, adapter) });
  },
});
