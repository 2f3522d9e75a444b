import { float32Bytes, writeGguf } from '../../packages/models/src/gguf/testing/write-gguf.js';

const tensor = (name: string, ...shape: number[]): { name: string; shape: number[]; bytes: Uint8Array } => ({
  name,
  shape,
  bytes: float32Bytes(Array.from({ length: shape.reduce((size, side) => size * side, 1) }, (_, at) => at / 100)),
});

/** Returns a GGUF file of a Llama with one layer and a byte-level tokenizer of six tokens. */
export function ggufSeed(): Uint8Array {
  const tokens = ['<s>', '</s>', 'a', 'b', 'ab', 'Ġ'];
  return writeGguf(
    {
      'general.architecture': 'llama',
      'general.file_type': 0,
      'llama.block_count': 1,
      'llama.context_length': 32,
      'llama.embedding_length': 4,
      'llama.feed_forward_length': 8,
      'llama.attention.head_count': 2,
      'llama.attention.head_count_kv': 1,
      'llama.attention.layer_norm_rms_epsilon': 1e-5,
      'llama.rope.freq_base': 10_000,
      'llama.rope.dimension_count': 2,
      'llama.vocab_size': tokens.length,
      'tokenizer.ggml.model': 'gpt2',
      'tokenizer.ggml.pre': 'llama-bpe',
      'tokenizer.ggml.tokens': tokens,
      'tokenizer.ggml.token_type': [3, 3, 1, 1, 1, 1],
      'tokenizer.ggml.merges': ['a b'],
      'tokenizer.ggml.bos_token_id': 0,
      'tokenizer.ggml.eos_token_id': 1,
    } as never,
    [
      tensor('token_embd.weight', tokens.length, 4),
      tensor('blk.0.attn_norm.weight', 4),
      tensor('blk.0.attn_q.weight', 4, 4),
      tensor('blk.0.attn_k.weight', 2, 4),
      tensor('blk.0.attn_v.weight', 2, 4),
      tensor('blk.0.attn_output.weight', 4, 4),
      tensor('blk.0.ffn_norm.weight', 4),
      tensor('blk.0.ffn_gate.weight', 8, 4),
      tensor('blk.0.ffn_up.weight', 8, 4),
      tensor('blk.0.ffn_down.weight', 4, 8),
      tensor('output_norm.weight', 4),
    ],
  );
}
