/** Every Llama here. */
const llama = {
  model_type: 'llama',
  rms_norm_eps: 1e-6,
  hidden_act: 'silu',
  initializer_range: 0.02,
  max_position_embeddings: 8192,
} as const;

/** The shapes of `peers/peer_step.py`, by its names: SmolLM2-135M, Llama-3.2-1B, Llama-3.1-8B. */
export const shapes = {
  smol: {
    ...llama,
    vocab_size: 49152,
    hidden_size: 576,
    intermediate_size: 1536,
    num_hidden_layers: 30,
    num_attention_heads: 9,
    num_key_value_heads: 3,
    head_dim: 64,
    tie_word_embeddings: true,
    rope_theta: 100000,
  },
  '1b': {
    ...llama,
    vocab_size: 128256,
    hidden_size: 2048,
    intermediate_size: 8192,
    num_hidden_layers: 16,
    num_attention_heads: 32,
    num_key_value_heads: 8,
    head_dim: 64,
    tie_word_embeddings: true,
    rope_theta: 500000,
  },
  '8b': {
    ...llama,
    vocab_size: 128256,
    hidden_size: 4096,
    intermediate_size: 14336,
    num_hidden_layers: 32,
    num_attention_heads: 32,
    num_key_value_heads: 8,
    head_dim: 128,
    tie_word_embeddings: false,
    rope_theta: 500000,
  },
} as const;

export type ShapeName = keyof typeof shapes;

/**
 * Floating-point operations of a step as `peers/peer_step.py` counts them: 2 a weight and token on the way there, 2 on
 * the way back, 2 where it is trained; and half of what attention would take without a mask.
 */
export function operationsOf(
  name: ShapeName,
  { mode, batch, length }: { readonly mode: 'lora' | 'full'; readonly batch: number; readonly length: number },
): number {
  const {
    vocab_size: words,
    hidden_size: width,
    intermediate_size: inner,
    num_hidden_layers: layers,
    num_attention_heads: heads,
    num_key_value_heads: keyValueHeads,
    head_dim: headDim,
  } = shapes[name];
  const weights = layers * (2 * width * headDim * (heads + keyValueHeads) + 3 * width * inner) + words * width;
  return batch * length * weights * (mode === 'lora' ? 4 : 6) + layers * 6 * batch * length ** 2 * heads * headDim;
}
