import type { ConfigRecord } from '../config-reader.js';
import { gemma2Names, gpt2Names, llamaNames, phi3Names } from './names.js';
import type { ArchitectureSpec } from './spec.js';

export type { ArchitectureSpec } from './spec.js';

const noBiases = { queryKeyValue: false, attentionOutput: false, gateUp: false, down: false } as const;

const llama: ArchitectureSpec = {
  modelType: 'llama',
  defaults: { max_position_embeddings: 2048, rms_norm_eps: 1e-6, tie_word_embeddings: false },
  names: llamaNames,
  norm: { kind: 'rms', weightOffset: 0 },
  defaultActivation: 'silu',
  biases: { queryKeyValue: 'attention_bias', attentionOutput: 'attention_bias', gateUp: 'mlp_bias', down: 'mlp_bias' },
  sliding: 'none',
  rope: 'one',
  attentionScale: 'head dim',
};

const mistral: ArchitectureSpec = {
  ...llama,
  modelType: 'mistral',
  defaults: { ...llama.defaults, max_position_embeddings: 131_072, num_key_value_heads: 8, sliding_window: 4096 },
  biases: noBiases,
  sliding: 'all',
};

const qwen2: ArchitectureSpec = {
  ...llama,
  modelType: 'qwen2',
  defaults: {
    ...llama.defaults,
    max_position_embeddings: 32_768,
    use_sliding_window: false,
    sliding_window: 4096,
    max_window_layers: 28,
  },
  biases: { ...noBiases, queryKeyValue: true },
  sliding: (layer, config) => config['use_sliding_window'] === true && layer >= Number(config['max_window_layers']),
};

const qwen3: ArchitectureSpec = {
  ...qwen2,
  modelType: 'qwen3',
  defaults: { ...qwen2.defaults, head_dim: 128 },
  queryKeyNorm: true,
  biases: { ...noBiases, queryKeyValue: 'attention_bias', attentionOutput: 'attention_bias' },
};

const phi3: ArchitectureSpec = {
  ...llama,
  modelType: 'phi3',
  defaults: {
    ...llama.defaults,
    max_position_embeddings: 4096,
    original_max_position_embeddings: 4096,
    rms_norm_eps: 1e-5,
  },
  names: phi3Names,
  biases: noBiases,
  sliding: 'all',
};

const gemma: ArchitectureSpec = {
  ...llama,
  modelType: 'gemma',
  defaults: { ...llama.defaults, max_position_embeddings: 8192, head_dim: 256, tie_word_embeddings: true },
  norm: { kind: 'rms', weightOffset: 1 },
  defaultActivation: 'gelu_pytorch_tanh',
  activationAliases: { gelu: 'gelu_pytorch_tanh' },
  biases: { ...noBiases, queryKeyValue: 'attention_bias', attentionOutput: 'attention_bias' },
  scaledEmbedding: true,
};

const gemma2: ArchitectureSpec = {
  ...gemma,
  modelType: 'gemma2',
  defaults: {
    ...gemma.defaults,
    num_key_value_heads: 4,
    query_pre_attn_scalar: 256,
    hidden_activation: 'gelu_pytorch_tanh',
    sliding_window: 4096,
    attn_logit_softcapping: 50,
    final_logit_softcapping: 30,
  },
  renamed: { hidden_act: 'hidden_activation' },
  activationAliases: {},
  names: gemma2Names,
  sliding: (layer) => layer % 2 === 0,
  attentionScale: 'query_pre_attn_scalar',
};

const gemma3: ArchitectureSpec = {
  ...gemma2,
  modelType: 'gemma3_text',
  defaults: {
    ...gemma2.defaults,
    max_position_embeddings: 131_072,
    attn_logit_softcapping: null,
    final_logit_softcapping: null,
    rope_theta: 1_000_000,
    rope_local_base_freq: 10_000,
    sliding_window_pattern: 6,
  },
  queryKeyNorm: true,
  sliding: (layer, config) => (layer + 1) % slidingPattern(config) !== 0,
  rope: 'by layer type',
};

const slidingPattern = (config: ConfigRecord): number =>
  Number(config['_sliding_window_pattern'] ?? config['sliding_window_pattern']);

const gpt2: ArchitectureSpec = {
  modelType: 'gpt2',
  defaults: { layer_norm_epsilon: 1e-5, n_positions: 1024, tie_word_embeddings: true },
  renamed: {
    hidden_size: 'n_embd',
    num_hidden_layers: 'n_layer',
    num_attention_heads: 'n_head',
    max_position_embeddings: 'n_positions',
    intermediate_size: 'n_inner',
    hidden_act: 'activation_function',
    rms_norm_eps: 'layer_norm_epsilon',
  },
  names: gpt2Names,
  norm: { kind: 'layer', weightOffset: 0 },
  fanInFanOut: true,
  defaultActivation: 'gelu_new',
  biases: { queryKeyValue: true, attentionOutput: true, gateUp: true, down: true },
  sliding: 'none',
  rope: 'none',
  attentionScale: 'head dim',
};

/** The supported architectures by `model_type`. */
export const architectures: ReadonlyMap<string, ArchitectureSpec> = new Map(
  [gpt2, llama, mistral, qwen2, qwen3, phi3, gemma, gemma2, gemma3].map((spec) => [spec.modelType, spec]),
);
