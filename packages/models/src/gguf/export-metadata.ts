import { WhetstoneError, type Json } from '@whetstone/core/contract';
import { isRecord } from '@whetstone/core/util';
import type { DecoderShape } from '../architectures/index.js';
import type { TypedValue } from './write-gguf.js';

/** Names of architectures in GGUF by `model_type`. */
export const ggufArchitectures: Readonly<Record<string, string>> = {
  llama: 'llama',
  mistral: 'llama',
  qwen2: 'qwen2',
  qwen3: 'qwen3',
  phi3: 'phi3',
  gemma2: 'gemma2',
  gemma3_text: 'gemma3',
  gpt2: 'gpt2',
};

type Config = Readonly<Record<string, Json>>;

/** A model to describe. */
export interface DescribedModel {
  readonly folder: string;
  readonly shape: DecoderShape;
  readonly config: Config;
}

/**
 * Returns the metadata of GGUF for the shape of a model: the inverse of `createConfig`. Keys begin with the name of the
 * architecture.
 *
 * @throws `GGUF_UNSUPPORTED` if GGUF cannot describe its rotary scaling
 */
export function modelMetadata(architecture: string, model: DescribedModel): ReadonlyMap<string, TypedValue> {
  const { shape, config } = model;
  const integers: Readonly<Record<string, number | undefined>> = {
    context_length: shape.maxLength,
    embedding_length: shape.hiddenSize,
    block_count: shape.layers.length,
    feed_forward_length: shape.intermediateSize,
    vocab_size: shape.vocabularySize,
    'attention.head_count': shape.heads,
    'attention.head_count_kv': shape.keyValueHeads,
    ...(architecture === 'gpt2'
      ? {}
      : {
          'attention.key_length': shape.headDim,
          'attention.value_length': shape.headDim,
          'rope.dimension_count': shape.ropes[0]?.rotated ?? shape.headDim,
        }),
    'attention.sliding_window': shape.layers.find(({ window }) => window !== null)?.window ?? undefined,
    'attention.sliding_window_pattern': architecture === 'gemma3' ? fullAttentionPeriod(shape) : undefined,
  };
  const floats: Readonly<Record<string, number | undefined>> = {
    [shape.norm.kind === 'rms' ? 'attention.layer_norm_rms_epsilon' : 'attention.layer_norm_epsilon']:
      shape.norm.epsilon,
    'rope.freq_base': shape.ropes.length === 0 ? undefined : thetaOf(config),
    attn_logit_softcapping: shape.attentionSoftCap ?? undefined,
    final_logit_softcapping: shape.logitSoftCap ?? undefined,
    'attention.scale': architecture.startsWith('gemma') ? shape.layers[0]?.attentionScale : undefined,
  };
  const entries = [
    ...typed('uint32', integers),
    ...typed('float32', floats),
    ...(architecture === 'gpt2' ? [] : scalingOf(model)),
  ];
  return new Map(entries.map(([key, value]) => [`${architecture}.${key}`, value]));
}

function typed(
  type: 'uint32' | 'float32',
  values: Readonly<Record<string, number | undefined>>,
): [string, TypedValue][] {
  return Object.entries(values).flatMap(([key, value]) => (value === undefined ? [] : [[key, { type, value }]]));
}

const fullAttentionPeriod = ({ layers }: DecoderShape): number => layers.findIndex(({ window }) => window === null) + 1;

/** Returns the parameters of the rotary positions, which newer configurations nest. */
function ropeOf(config: Config): Config {
  const nested = config['rope_parameters'] ?? config['rope_scaling'];
  const parameters = isRecord(nested) ? (nested as Config) : {};
  return isRecord(parameters['full_attention']) ? (parameters['full_attention'] as Config) : parameters;
}

const thetaOf = (config: Config): number => Number(ropeOf(config)['rope_theta'] ?? config['rope_theta'] ?? 10_000);

function scalingOf({ folder, config }: DescribedModel): [string, TypedValue][] {
  const rope = ropeOf(config);
  const type = String(rope['rope_type'] ?? rope['type'] ?? 'default');
  if (type === 'default' || Object.hasOwn(factorRules, type)) return [];
  if (type !== 'linear' && type !== 'yarn')
    throw new WhetstoneError('GGUF_UNSUPPORTED', 'The rotary scaling of the model cannot be exported to GGUF.', {
      place: { file: `${folder}/config.json`, path: 'rope_scaling' },
      expected: `no scaling, linear, yarn, ${Object.keys(factorRules).join(' or ')}`,
      found: type,
    });
  const original = rope['original_max_position_embeddings'];
  return [
    ['rope.scaling.type', { type: 'string', value: type }],
    ['rope.scaling.factor', { type: 'float32', value: Number(rope['factor']) }],
    ...(typeof original === 'number' ? typed('uint32', { 'rope.scaling.original_context_length': original }) : []),
  ];
}

/** Scaling that GGUF stores as tensors of factors of the rotary frequencies, by its type. */
const factorRules: Readonly<Record<string, (model: DescribedModel) => ReadonlyMap<string, Float32Array>>> = {
  llama3: ({ shape, config }) => {
    const [rope] = shape.ropes;
    const scaled = rope?.frequencies(1) ?? new Float32Array();
    const theta = thetaOf(config);
    return new Map([
      ['rope_freqs.weight', scaled.map((frequency, pair) => theta ** (-pair / scaled.length) / frequency)],
    ]);
  },
  longrope: ({ config }) => {
    const rope = ropeOf(config);
    const factors = (key: string): Float32Array => Float32Array.from((rope[key] as number[] | undefined) ?? []);
    return new Map([
      ['rope_factors_long.weight', factors('long_factor')],
      ['rope_factors_short.weight', factors('short_factor')],
    ]);
  },
};

/** Returns the tensors of factors of the rotary frequencies that a model needs in GGUF, by name. */
export function ropeFactors(model: DescribedModel): ReadonlyMap<string, Float32Array> {
  const rope = ropeOf(model.config);
  const type = String(rope['rope_type'] ?? rope['type'] ?? 'default');
  return Object.hasOwn(factorRules, type) ? (factorRules[type]?.(model) ?? new Map()) : new Map();
}
