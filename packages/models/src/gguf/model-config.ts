import { WhetstoneError, type Json } from '@whetstone/core/contract';
import { ownValue } from '@whetstone/core/util';
import type { GgufHeader } from './header.js';
import type { Metadata } from './metadata.js';
import { unknownArchitecture } from './weights.js';

export interface ConfigInputs {
  readonly file: string;
  readonly header: GgufHeader;
  readonly metadata: Metadata;
  /** Values of the tensors `rope_freqs`, `rope_factors_long` and `rope_factors_short`, by name. */
  readonly factors: ReadonlyMap<string, Float32Array>;
  readonly dtype: string;
  /** Whether the head shares the weight of the embedding: the file has none, or repeats the embedding. */
  readonly tiesHead: boolean;
}

type Config = Record<string, Json>;

const classNames: Readonly<Record<string, string>> = {
  llama: 'LlamaForCausalLM',
  mistral: 'MistralForCausalLM',
  qwen2: 'Qwen2ForCausalLM',
  qwen3: 'Qwen3ForCausalLM',
  phi3: 'Phi3ForCausalLM',
  gemma2: 'Gemma2ForCausalLM',
  gemma3_text: 'Gemma3ForCausalLM',
  gpt2: 'GPT2LMHeadModel',
};

/**
 * Creates the config.json of the model in a GGUF file.
 *
 * @throws `GGUF_UNSUPPORTED` if the architecture or its rotary scaling is not supported
 * @throws `GGUF_INVALID` if metadata are missing
 */
export function createConfig(inputs: ConfigInputs): Config {
  const { metadata, header, dtype } = inputs;
  const make = ownValue(makers, metadata.architecture);
  if (make === undefined) throw unknownArchitecture(inputs.file, metadata.architecture);
  const config = make(inputs);
  const embedding = header.tensors.get('token_embd.weight');
  const special = Object.fromEntries(
    (['bos', 'eos'] as const).flatMap((name) => {
      const id = metadata.optionalNumber(`tokenizer.ggml.${name}_token_id`);
      return id === undefined ? [] : [[`${name}_token_id`, id]];
    }),
  );
  const pad = metadata.optionalNumber('tokenizer.ggml.padding_token_id');
  return {
    architectures: [classNames[String(config['model_type'])] ?? ''],
    ...config,
    ...special,
    ...(pad === undefined ? {} : { pad_token_id: pad }),
    vocab_size: embedding?.shape[0] ?? metadata.number('arch.vocab_size'),
    torch_dtype: dtype,
    use_cache: true,
  };
}

/** Returns the fields that all architectures except GPT-2 share. */
function sharedFields({ metadata, tiesHead }: ConfigInputs): Config {
  const heads = metadata.number('arch.attention.head_count');
  const hidden = metadata.number('arch.embedding_length');
  return {
    hidden_size: hidden,
    intermediate_size: metadata.number('arch.feed_forward_length'),
    num_hidden_layers: metadata.number('arch.block_count'),
    num_attention_heads: heads,
    num_key_value_heads: metadata.optionalNumber('arch.attention.head_count_kv') ?? heads,
    head_dim:
      metadata.optionalNumber('arch.attention.key_length') ??
      metadata.optionalNumber('arch.rope.dimension_count') ??
      hidden / heads,
    max_position_embeddings: metadata.number('arch.context_length'),
    rms_norm_eps: rounded(metadata.number('arch.attention.layer_norm_rms_epsilon')),
    rope_theta: rounded(metadata.optionalNumber('arch.rope.freq_base') ?? 10_000),
    tie_word_embeddings: tiesHead,
    attention_dropout: 0,
    initializer_range: 0.02,
  };
}

/** Rounds a float32 to the shortest decimal with the same value: 9.99999974e-6 becomes 1e-5. */
function rounded(value: number): number {
  const short = Number(value.toPrecision(7));
  return Math.fround(short) === Math.fround(value) ? short : value;
}

const makers: Readonly<Record<string, (inputs: ConfigInputs) => Config>> = {
  llama(inputs) {
    const { metadata, header } = inputs;
    const window = metadata.optionalNumber('arch.attention.sliding_window');
    const bias = {
      attention_bias: header.tensors.has('blk.0.attn_q.bias'),
      mlp_bias: header.tensors.has('blk.0.ffn_up.bias'),
    };
    return {
      model_type: window === undefined ? 'llama' : 'mistral',
      ...sharedFields(inputs),
      hidden_act: 'silu',
      ...(window === undefined ? bias : { sliding_window: window }),
      ...ropeScaling(inputs),
    };
  },
  qwen2: (inputs) => ({
    model_type: 'qwen2',
    ...sharedFields(inputs),
    hidden_act: 'silu',
    use_sliding_window: false,
    ...ropeScaling(inputs),
  }),
  qwen3: (inputs) => ({
    model_type: 'qwen3',
    ...sharedFields(inputs),
    hidden_act: 'silu',
    attention_bias: false,
    use_sliding_window: false,
    ...ropeScaling(inputs),
  }),
  phi3(inputs) {
    const { metadata } = inputs;
    const config = sharedFields(inputs);
    const headDim = Number(config['hidden_size']) / Number(config['num_attention_heads']);
    const rotated = metadata.optionalNumber('arch.rope.dimension_count') ?? headDim;
    const { head_dim: _, ...rest } = config;
    return {
      model_type: 'phi3',
      ...rest,
      hidden_act: 'silu',
      partial_rotary_factor: rotated / headDim,
      sliding_window: metadata.optionalNumber('arch.attention.sliding_window') ?? null,
      original_max_position_embeddings:
        metadata.optionalNumber('arch.rope.scaling.original_context_length') ??
        Number(config['max_position_embeddings']),
      ...ropeScaling(inputs),
    };
  },
  gemma2(inputs) {
    const { metadata } = inputs;
    const config = sharedFields(inputs);
    return {
      model_type: 'gemma2',
      ...config,
      hidden_activation: 'gelu_pytorch_tanh',
      sliding_window: metadata.optionalNumber('arch.attention.sliding_window') ?? 4096,
      attn_logit_softcapping: metadata.optionalNumber('arch.attn_logit_softcapping') ?? 50,
      final_logit_softcapping: metadata.optionalNumber('arch.final_logit_softcapping') ?? 30,
      query_pre_attn_scalar: queryScalar(metadata, config, 46),
      layer_types: layerTypes(config, 2),
    };
  },
  gemma3(inputs) {
    const { metadata } = inputs;
    const config = sharedFields(inputs);
    return {
      model_type: 'gemma3_text',
      ...config,
      hidden_activation: 'gelu_pytorch_tanh',
      sliding_window: metadata.optionalNumber('arch.attention.sliding_window') ?? 1024,
      sliding_window_pattern: metadata.optionalNumber('arch.attention.sliding_window_pattern') ?? 6,
      rope_theta: rounded(metadata.optionalNumber('arch.rope.freq_base') ?? 1_000_000),
      rope_local_base_freq: 10_000,
      attn_logit_softcapping: null,
      final_logit_softcapping: null,
      query_pre_attn_scalar: queryScalar(metadata, config, 62),
      layer_types: layerTypes(config, metadata.optionalNumber('arch.attention.sliding_window_pattern') ?? 6),
      ...ropeScaling(inputs),
    };
  },
  gpt2: ({ metadata, tiesHead }) => ({
    model_type: 'gpt2',
    activation_function: 'gelu_new',
    n_embd: metadata.number('arch.embedding_length'),
    n_layer: metadata.number('arch.block_count'),
    n_head: metadata.number('arch.attention.head_count'),
    n_inner: metadata.number('arch.feed_forward_length'),
    n_positions: metadata.number('arch.context_length'),
    layer_norm_epsilon: rounded(metadata.number('arch.attention.layer_norm_epsilon')),
    tie_word_embeddings: tiesHead,
    attn_pdrop: 0,
    embd_pdrop: 0,
    resid_pdrop: 0,
    initializer_range: 0.02,
  }),
};

/** Returns the layer types: every `period`-th layer has full attention, the others a sliding window. */
function layerTypes(config: Config, period: number): string[] {
  return Array.from({ length: Number(config['num_hidden_layers']) }, (_, layer) =>
    (layer + 1) % period === 0 ? 'full_attention' : 'sliding_attention',
  );
}

/**
 * Returns Gemma's `query_pre_attn_scalar`: derived from the attention scale in the file, or else the head size. The 27B
 * models, which are recognised by their number of layers, use hidden size ÷ heads.
 */
function queryScalar(metadata: Metadata, config: Config, layersOf27B: number): number {
  const scale = metadata.optionalNumber('arch.attention.scale');
  if (scale !== undefined && scale > 0) return rounded(Math.fround(scale ** -2));
  return config['num_hidden_layers'] === layersOf27B
    ? Number(config['hidden_size']) / Number(config['num_attention_heads'])
    : Number(config['head_dim']);
}

function ropeScaling(inputs: ConfigInputs): Config {
  const { metadata, factors, file } = inputs;
  const long = factors.get('rope_factors_long.weight');
  const short = factors.get('rope_factors_short.weight');
  if (long !== undefined && short !== undefined)
    return {
      rope_scaling: {
        type: 'longrope',
        rope_type: 'longrope',
        long_factor: [...long].map(rounded),
        short_factor: [...short].map(rounded),
      },
    };
  const llama3 = factors.get('rope_freqs.weight');
  if (llama3 !== undefined) return { rope_scaling: llama3Scaling(inputs, llama3) };
  const type = metadata.optionalText('arch.rope.scaling.type');
  const factor = metadata.optionalNumber('arch.rope.scaling.factor');
  if (type === undefined || type === 'none' || factor === undefined) return {};
  const original = metadata.optionalNumber('arch.rope.scaling.original_context_length');
  if (type === 'linear') return { rope_scaling: { rope_type: 'linear', factor } };
  if (type === 'yarn')
    return {
      rope_scaling: {
        rope_type: 'yarn',
        factor,
        ...(original === undefined ? {} : { original_max_position_embeddings: original }),
      },
    };
  throw new WhetstoneError('GGUF_UNSUPPORTED', 'The type of rotary scaling is not supported.', {
    place: { file, path: `${metadata.architecture}.rope.scaling.type` },
    expected: 'none, linear, yarn or longrope',
    found: type,
  });
}

/**
 * Returns the parameters of Llama 3's rotary scaling. GGUF stores only the resulting divisor of each frequency. The
 * published parameters are assumed and checked against the stored divisors.
 *
 * @throws `GGUF_UNSUPPORTED` if the divisors differ
 */
function llama3Scaling({ metadata, file }: ConfigInputs, stored: Float32Array): Config {
  const factor = Math.max(...stored);
  const theta = metadata.optionalNumber('arch.rope.freq_base') ?? 10_000;
  const [low, high, original] = [1, 4, 8192];
  const agrees = stored.every((divisor, pair) => {
    const turns = (original * theta ** (-pair / stored.length)) / (2 * Math.PI);
    const smooth = (turns - low) / (high - low);
    const expected = turns < low ? factor : turns > high ? 1 : 1 / ((1 - smooth) / factor + smooth);
    return Math.abs(divisor - expected) <= 1e-3 * expected;
  });
  if (!agrees)
    throw new WhetstoneError('GGUF_UNSUPPORTED', 'The rotary frequencies do not match a supported scaling rule.', {
      place: { file, tensor: 'rope_freqs.weight' },
    });
  return {
    rope_type: 'llama3',
    factor,
    low_freq_factor: low,
    high_freq_factor: high,
    original_max_position_embeddings: original,
  };
}
