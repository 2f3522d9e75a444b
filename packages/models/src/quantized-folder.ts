import { WhetstoneError, type Json } from '@whetstone/core/contract';
import type { TensorReader } from '@whetstone/core/safetensors';
import { isRecord } from '@whetstone/core/util';

/** Fields of config.json in which libraries describe quantised weights. */
const configFields = ['quantization_config', 'quantization', 'compression_config'];

/** Ends of the names of tensors that only quantised weights have, and what writes them. */
const tensorEndings: readonly (readonly [RegExp, string])[] = [
  [/\.quant_state\.bitsandbytes__\w+$|\.SCB$|\.(nested_)?(absmax|quant_map)$/, 'bitsandbytes'],
  [/\.(qweight|qzeros|g_idx)$/, 'GPTQ or AWQ'],
  [/\.weight_scale(_inv)?$/, 'fp8'],
  [/_(blocks|scales)$/, 'mxfp4'],
  [/\.weight_packed$/, 'compressed-tensors'],
  [/\.(scales|biases)$/, 'MLX'],
];

/** The dtypes of weights that are not quantised. */
const plainDtypes = new Set<string>(['F64', 'F32', 'F16', 'BF16']);

/**
 * Describes the quantisation of the weights of a model folder; null if they are stored as floating-point numbers.
 *
 * @param names the tensors that hold the weights of the model
 * @param mismatch whether the tensors do not match the architecture; config.json may then explain why
 */
export function quantizationOf(
  config: Readonly<Record<string, Json>>,
  reader: TensorReader,
  names: Iterable<string>,
  mismatch: boolean,
): string | null {
  const dtype = [...names].map((name) => reader.tensors.get(name)?.dtype).find((one) => one && !plainDtypes.has(one));
  const method = methodOf(reader);
  const described = configFields.flatMap((field) => {
    const value = config[field];
    return isRecord(value) ? [`${field} ${JSON.stringify(value).slice(0, 120)}`] : [];
  });
  if (dtype === undefined && method === null && !(mismatch && described.length > 0)) return null;
  return described[0] ?? (method === null ? `weights of type ${dtype}` : `tensors of ${method}`);
}

/** Returns which library writes the tensors of a file that only quantised weights have; null if there are none. */
function methodOf({ tensors }: TensorReader): string | null {
  for (const [ending, method] of tensorEndings) for (const name of tensors.keys()) if (ending.test(name)) return method;
  return null;
}

/** Returns config.json without the description of a quantisation, for weights that are not quantised. */
export const withoutQuantization = (config: Readonly<Record<string, Json>>): Readonly<Record<string, Json>> =>
  Object.fromEntries(
    Object.entries(config).filter(([field, value]) => !configFields.includes(field) || !isRecord(value)),
  );

/** Returns the error for a folder with quantised weights. */
export const quantizedError = (folder: string, found: string): WhetstoneError =>
  new WhetstoneError('MODEL_QUANTIZED', 'The weights of the model are quantised.', {
    place: { file: folder },
    expected: 'weights in float32, float16 or bfloat16',
    found,
    hint: 'Use the model before its quantisation. The strategy qlora quantises it when it is loaded.',
  });
