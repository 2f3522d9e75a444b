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
  [/\.(codes|codebooks)$/, 'AQLM'],
  [/\.(centroids|indices)(\.weight)?$/, 'VPTQ'],
  [/\.weight\._(data|scale)$/, 'quanto'],
  [/\.W_q$/, 'HQQ'],
  [/\.weight_scales$/, 'EETQ'],
  [/\.dense_weights$/, 'SpQR'],
  [/\._?weight_qdata$/, 'torchao'],
  [/\.(scales|biases)$/, 'MLX'],
];

/** Methods that quantise weights stored as floating-point numbers whenever the model computes. */
const quantisedInUse = new Set(['bitnet']);

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
  const [described] = descriptionsIn(config);
  const isDescribed = described !== undefined && (mismatch || quantisedInUse.has(described.method ?? ''));
  if (dtype === undefined && method === null && !isDescribed) return null;
  return described?.text ?? (method === null ? `weights of type ${dtype}` : `tensors of ${method}`);
}

/** Returns the quantisation that config.json describes; null if there is none. */
export const describedQuantization = (config: Readonly<Record<string, Json>>): string | null =>
  descriptionsIn(config)[0]?.text ?? null;

/** A quantisation that config.json describes. */
interface Description {
  /** The name that transformers has for it; null if it has none. */
  readonly method: string | null;
  readonly text: string;
}

function descriptionsIn(config: Readonly<Record<string, Json>>): readonly Description[] {
  return configFields.flatMap((field) => {
    const value = config[field];
    if (!isRecord(value)) return [];
    const method = methodIn(value);
    return [
      { method, text: `${field}${method === null ? '' : ` of ${method}`}: ${JSON.stringify(value).slice(0, 120)}` },
    ];
  });
}

/** Returns the method that a description names. That of bitsandbytes may name the number of bits instead. */
function methodIn(description: Readonly<Record<string, unknown>>): string | null {
  const method = description['quant_method'];
  if (typeof method === 'string') return method;
  return description['load_in_4bit'] === true || description['load_in_8bit'] === true ? 'bitsandbytes' : null;
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
