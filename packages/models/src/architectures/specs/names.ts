import type { TensorNames } from '../shape.js';

/** Llama's names, which most decoders use. */
export const llamaNames: TensorNames = {
  prefix: 'model',
  embedding: 'embed_tokens',
  positions: null,
  layers: 'layers',
  attention: 'self_attn',
  queryKeyValue: ['q_proj', 'k_proj', 'v_proj'],
  attentionOutput: 'o_proj',
  mlp: 'mlp',
  gateUp: { kind: 'gate, up', layers: ['gate_proj', 'up_proj'] },
  down: 'down_proj',
  norms: {
    beforeAttention: 'input_layernorm',
    afterAttention: null,
    beforeMlp: 'post_attention_layernorm',
    afterMlp: null,
    final: 'norm',
    query: 'q_norm',
    key: 'k_norm',
  },
};

/**
 * Gemma 2 and 3: a norm before and after each block. `post_attention_layernorm` is the norm after attention; in Llama
 * it is the norm before the feed-forward block.
 */
export const gemma2Names: TensorNames = {
  ...llamaNames,
  norms: {
    ...llamaNames.norms,
    afterAttention: 'post_attention_layernorm',
    beforeMlp: 'pre_feedforward_layernorm',
    afterMlp: 'post_feedforward_layernorm',
  },
};

export const phi3Names: TensorNames = {
  ...llamaNames,
  queryKeyValue: ['qkv_proj'],
  gateUp: { kind: 'stacked', layers: ['gate_up_proj'] },
};

export const gpt2Names: TensorNames = {
  prefix: 'transformer',
  embedding: 'wte',
  positions: 'wpe',
  layers: 'h',
  attention: 'attn',
  queryKeyValue: ['c_attn'],
  attentionOutput: 'c_proj',
  mlp: 'mlp',
  gateUp: { kind: 'plain', layers: ['c_fc'] },
  down: 'c_proj',
  norms: {
    beforeAttention: 'ln_1',
    afterAttention: null,
    beforeMlp: 'ln_2',
    afterMlp: null,
    final: 'ln_f',
    query: 'q_norm',
    key: 'k_norm',
  },
};
