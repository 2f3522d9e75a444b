import { loraConfigSchema, type LoraOptions } from '../lora/options.js';
import type { FromSchema } from '@whetstone/core/contract';

const { initLoraWeights, ...loraProperties } = loraConfigSchema.properties;

/** The schema of the options. */
export const configSchema = {
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

/** The options of the quantisation of the base, in the terms of bitsandbytes. */
export type QuantizationOptions = Pick<
  FromSchema<typeof configSchema>,
  'quantType' | 'doubleQuantization' | 'computeDtype' | 'skipModules'
>;

/** The options of `qlora`: those of `lora`, and those of quantisation. */
export interface QloraOptions extends LoraOptions, QuantizationOptions {}
