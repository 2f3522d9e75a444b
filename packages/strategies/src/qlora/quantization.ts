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
import { isRecord } from '@whetstone/core/util';

/** How the base of a QLoRA is quantised: bitsandbytes' terms. */
export interface QuantizationOptions {
  readonly quantType: 'nf4' | 'fp4' | 'int8';
  /** Whether the scales of 4-bit blocks are quantised too. */
  readonly doubleQuantization: boolean;
  /** What dequantised weights are multiplied in; null: as the backend multiplies. */
  readonly computeDtype: 'float32' | 'bfloat16' | null;
  /** Modules that keep their numbers, besides the output layer and embeddings. */
  readonly skipModules: readonly string[] | null;
}

/**
 * Quantises the numbers of one weight as they lie in the file. bitsandbytes' rows are those of [out, in], also where a
 * model stores [in, out].
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
 * Which weights are quantised, and how: those of all linear layers but the output layer, as transformers has it.
 * `keptModules` are the ones that an adapter trains whole.
 */
export function baseStorage(options: QuantizationOptions, keptModules: readonly string[] = []): WeightStorage {
  const kept = [...(options.skipModules ?? []), ...keptModules];
  return (weight) =>
    weight.kind !== 'linear' || belongsTo(weight.name, kept) ? null : (values) => pack(values, weight, options);
}

/**
 * The same numbers kept as float32: what generates replies from a quantised base without unpacking it for each token.
 */
export function baseNumbers(options: QuantizationOptions, keptModules: readonly string[] = []): WeightStorage {
  const storage = baseStorage(options, keptModules);
  return (weight) => {
    const packed = storage(weight);
    return typeof packed === 'function' ? (values) => unpackOnHost(packed(values) as PackedTensor) : packed;
  };
}

/** Name of the file beside an adapter that says how its base was quantised. */
export const quantizationFile = 'quantization_config.json';

/** `quantization_config` as transformers writes it into config.json. */
export function quantizationConfig(
  { quantType, doubleQuantization, computeDtype, skipModules }: QuantizationOptions,
  keptModules: readonly string[],
): Json {
  const is8Bit = quantType === 'int8';
  const kept = [...(skipModules ?? []), ...keptModules];
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
    llm_int8_skip_modules: kept.length === 0 ? null : ['lm_head', ...kept],
  };
}

/**
 * What {@link quantizationConfig}, or transformers, wrote.
 *
 * @throws ADAPTER_INVALID where it says something else than 4 or 8 bits of bitsandbytes.
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
    throw new WhetstoneError(
      'ADAPTER_INVALID',
      'The base of the adapter was quantised in a way that is not known here.',
      {
        place: { file },
        expected: 'quant_method bitsandbytes, with load_in_4bit (nf4 or fp4) or load_in_8bit',
        found: JSON.stringify(config).slice(0, 200),
      },
    );
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
