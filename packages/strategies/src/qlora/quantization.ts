import {
  WhetstoneError,
  type Json,
  type PackedTensor,
  type WeightRole,
  type WeightStorage,
} from '@whetstone/core/contract';
import { transposed, unpackOnHost } from '@whetstone/core/ops/internal';
import { belongsTo } from '../lora/saved-modules.js';
import { quantiseFourBit } from './four-bit.js';
import { quantiseInt8 } from './int8.js';
import type { QuantizationOptions } from './options.js';
import { isRecord } from '@whetstone/core/util';

/**
 * Quantises the values of one weight in the layout of the file. As in bitsandbytes, the rows of [out, in] are
 * quantised, even if the model stores [in, out].
 */
function pack(
  values: Float32Array,
  { shape, fanInFanOut }: Pick<WeightRole, 'shape' | 'fanInFanOut'>,
  options: QuantizationOptions,
): PackedTensor {
  const [rows = 1, columns = 1] = shape;
  const oriented = fanInFanOut ? transposed(values, columns, rows) : values;
  const { quantType, doubleQuantization } = options;
  const packed =
    quantType === 'int8'
      ? quantiseInt8(oriented, shape, { transposed: fanInFanOut })
      : quantiseFourBit(oriented, shape, quantType, {
          doubleQuantisation: doubleQuantization,
          transposed: fanInFanOut,
        });
  return options.computeDtype === 'bfloat16' ? { ...packed, computeDtype: 'bfloat16' } : packed;
}

/**
 * Returns the storage that quantises the weights of all linear layers except the output layer, as transformers does.
 *
 * @param trainedModules Modules that an adapter trains completely; they are not quantised.
 */
export function quantisedStorage(options: QuantizationOptions, trainedModules: readonly string[] = []): WeightStorage {
  const unquantised = [...(options.skipModules ?? []), ...trainedModules];
  return (weight) =>
    weight.kind !== 'linear' || belongsTo(weight.name, unquantised) ? null : (values) => pack(values, weight, options);
}

/**
 * Returns the storage that quantises and immediately dequantises weights to float32. The values equal those of
 * {@link quantisedStorage}; generation is faster because weights need not be unpacked for each token.
 */
export function dequantisedStorage(
  options: QuantizationOptions,
  trainedModules: readonly string[] = [],
): WeightStorage {
  const storage = quantisedStorage(options, trainedModules);
  return (weight) => {
    const packed = storage(weight);
    return typeof packed === 'function' ? (values) => unpackOnHost(packed(values) as PackedTensor) : packed;
  };
}

/** Name of the file in an adapter's folder that describes the quantisation of its base. */
export const quantizationFile = 'quantization_config.json';

/** Creates `quantization_config` as transformers writes it into config.json. */
export function quantizationConfig(
  { quantType, doubleQuantization, computeDtype, skipModules }: QuantizationOptions,
  trainedModules: readonly string[],
): Json {
  const is8Bit = quantType === 'int8';
  const unquantised = [...(skipModules ?? []), ...trainedModules];
  return {
    quant_method: 'bitsandbytes',
    load_in_4bit: !is8Bit,
    load_in_8bit: is8Bit,
    ...(is8Bit
      ? {}
      : {
          bnb_4bit_quant_type: quantType,
          bnb_4bit_use_double_quant: doubleQuantization,
          bnb_4bit_compute_dtype: computeDtype ?? 'float32',
          bnb_4bit_quant_storage: 'uint8',
        }),
    llm_int8_skip_modules: unquantised.length === 0 ? null : ['lm_head', ...unquantised],
  };
}

/**
 * Reads the output of {@link quantizationConfig} or of transformers.
 *
 * @throws `ADAPTER_INVALID` if it is not a 4-bit or 8-bit quantisation of bitsandbytes
 */
export function quantizationOf(config: Json, file: string): QuantizationOptions {
  const fields = (isRecord(config) ? config : {}) as {
    readonly [key: string]: Json;
  };
  const type = fields['load_in_8bit'] === true ? 'int8' : (fields['bnb_4bit_quant_type'] ?? 'fp4');
  if (
    fields['quant_method'] !== 'bitsandbytes' ||
    (type !== 'int8' && type !== 'nf4' && type !== 'fp4') ||
    (type !== 'int8' && fields['load_in_4bit'] !== true)
  ) {
    throw new WhetstoneError('ADAPTER_INVALID', 'The quantisation of the base of the adapter is not supported.', {
      place: { file },
      expected: 'quant_method bitsandbytes, with load_in_4bit (nf4 or fp4) or load_in_8bit',
      found: JSON.stringify(config).slice(0, 200),
    });
  }
  const skip = fields['llm_int8_skip_modules'];
  return {
    quantType: type,
    doubleQuantization: fields['bnb_4bit_use_double_quant'] === true,
    computeDtype: null,
    skipModules: Array.isArray(skip)
      ? (skip as readonly Json[]).filter((name): name is string => typeof name === 'string')
      : null,
  };
}
