import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { writeSafetensors, type TensorToWrite } from '@whetstone/core/safetensors';
import { sizeOfShape } from '@whetstone/core/util';

/** The shape of a tiny model. */
export interface TinyModelOptions {
  readonly seed?: number;
  readonly hiddenSize?: number;
  readonly layers?: number;
}

const specialTokens = ['<|endoftext|>', '<|im_start|>', '<|im_end|>'] as const;
const chatTemplate =
  "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + " +
  "'<|im_end|>\\n' }}{% endfor %}" +
  "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

/**
 * Writes a small Llama with random weights and a byte-level tokenizer as a Hugging Face folder: a model for tests and
 * experiments that needs no download.
 */
export async function createTinyModel(folder: string, options: TinyModelOptions = {}): Promise<void> {
  const vocabulary = byteVocabulary();
  const config = tinyConfig(vocabulary, options);
  await mkdir(folder, { recursive: true });
  const json = (name: string, value: unknown): Promise<void> =>
    writeFile(join(folder, name), `${JSON.stringify(value, null, 2)}\n`);
  await json('tokenizer.json', byteTokenizer(vocabulary));
  await json('tokenizer_config.json', {
    tokenizer_class: 'PreTrainedTokenizerFast',
    bos_token: '<|im_start|>',
    eos_token: '<|im_end|>',
    pad_token: '<|endoftext|>',
    chat_template: chatTemplate,
    model_max_length: 2048,
  });
  await writeSafetensors(join(folder, 'model.safetensors'), randomWeights(config, options.seed ?? 0));
  // Written last: a folder without it is not a model.
  await json('config.json', config);
}

type TinyConfig = ReturnType<typeof tinyConfig>;

/** Returns the content of `config.json`. */
function tinyConfig(vocabulary: Readonly<Record<string, number>>, { hiddenSize = 64, layers = 2 }: TinyModelOptions) {
  const headDim = 16;
  const heads = hiddenSize / headDim;
  return {
    architectures: ['LlamaForCausalLM'],
    model_type: 'llama',
    vocab_size: Object.keys(vocabulary).length,
    hidden_size: hiddenSize,
    intermediate_size: hiddenSize * 3,
    num_hidden_layers: layers,
    num_attention_heads: heads,
    num_key_value_heads: Math.max(1, heads / 2),
    head_dim: headDim,
    max_position_embeddings: 2048,
    rms_norm_eps: 1e-5,
    rope_theta: 10000,
    hidden_act: 'silu',
    attention_bias: false,
    mlp_bias: false,
    tie_word_embeddings: true,
    bos_token_id: vocabulary['<|im_start|>'],
    eos_token_id: vocabulary['<|im_end|>'],
    pad_token_id: vocabulary['<|endoftext|>'],
  };
}

/** Returns the weights of the model: matrices of normal numbers, and norms of ones. */
function randomWeights(config: TinyConfig, seed: number): TensorToWrite[] {
  const { hidden_size: hidden, intermediate_size: intermediate, head_dim: headDim } = config;
  const queries = config.num_attention_heads * headDim;
  const keys = config.num_key_value_heads * headDim;
  const normal = normalNumbers(seed);
  const random = (name: string, shape: readonly number[], deviation = 0.02): TensorToWrite => ({
    name,
    dtype: 'F32',
    shape,
    data: () => Float32Array.from({ length: sizeOfShape(shape) }, () => normal() * deviation),
  });
  const ones = (name: string): TensorToWrite => ({
    name,
    dtype: 'F32',
    shape: [hidden],
    data: () => new Float32Array(hidden).fill(1),
  });
  const tensors = [random('model.embed_tokens.weight', [config.vocab_size, hidden]), ones('model.norm.weight')];
  for (let layer = 0; layer < config.num_hidden_layers; layer++) {
    const at = `model.layers.${layer}`;
    tensors.push(
      ones(`${at}.input_layernorm.weight`),
      ones(`${at}.post_attention_layernorm.weight`),
      random(`${at}.self_attn.q_proj.weight`, [queries, hidden]),
      random(`${at}.self_attn.k_proj.weight`, [keys, hidden]),
      random(`${at}.self_attn.v_proj.weight`, [keys, hidden]),
      random(`${at}.self_attn.o_proj.weight`, [hidden, queries]),
      random(`${at}.mlp.gate_proj.weight`, [intermediate, hidden]),
      random(`${at}.mlp.up_proj.weight`, [intermediate, hidden]),
      random(`${at}.mlp.down_proj.weight`, [hidden, intermediate]),
    );
  }
  return tensors;
}

/**
 * The 256 bytes in GPT-2's printable characters for them, then the special tokens.
 */
function byteVocabulary(): Record<string, number> {
  const printable = (byte: number): boolean =>
    (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
  const vocabulary: Record<string, number> = {};
  let others = 0;
  for (let byte = 0; byte < 256; byte++) {
    const character = printable(byte) ? byte : 256 + others;
    if (!printable(byte)) others++;
    vocabulary[String.fromCodePoint(character)] = byte;
  }
  for (const [index, token] of specialTokens.entries()) vocabulary[token] = 256 + index;
  return vocabulary;
}

function byteTokenizer(vocabulary: Readonly<Record<string, number>>): unknown {
  const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false };
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: specialTokens.map((content) => ({
      id: vocabulary[content],
      content,
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
      special: true,
    })),
    normalizer: null,
    pre_tokenizer: byteLevel,
    post_processor: byteLevel,
    decoder: byteLevel,
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: false,
      vocab: vocabulary,
      merges: [],
    },
  };
}

/** Standard normal numbers: mulberry32 and the Box–Muller transform. */
function normalNumbers(seed: number): () => number {
  let state = seed >>> 0;
  const uniform = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  return () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
}
