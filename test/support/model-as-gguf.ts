import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { openWeights } from '@whetstone/core/safetensors';
import { float32Bytes, writeGguf, type TensorToWrite } from '../../packages/models/src/gguf/testing/write-gguf.js';
import type { GgufValue } from '../../packages/models/src/gguf/header.js';

/**
 * A small Hugging Face model as the GGUF file that llama.cpp's converter would write of it: its names, its order of q
 * and k rows, gemma's norms with one added, GPT-2's weights turned round. The tokenizer is made up, one letter a
 * token.
 */
export async function modelAsGguf(folder: string): Promise<Uint8Array> {
  const config = JSON.parse(await readFile(join(folder, 'config.json'), 'utf8')) as Config;
  const type = config.model_type;
  const reader = await openWeights(folder);
  const tensors: TensorToWrite[] = [];
  for (const [name, { shape }] of reader.tensors)
    tensors.push(convert(type, config, name, shape, await reader.readFloat32(name)));
  await reader.close();
  return writeGguf({ ...metadataOf(type, config), ...tokenizer(vocabularySize(tensors)) }, tensors);
}

interface Config {
  readonly model_type: string;
  readonly [key: string]: unknown;
}

const architectures: Readonly<Record<string, string>> = {
  llama: 'llama',
  mistral: 'llama',
  qwen2: 'qwen2',
  qwen3: 'qwen3',
  phi3: 'phi3',
  gemma2: 'gemma2',
  gemma3_text: 'gemma3',
  gpt2: 'gpt2',
};

/** Rules of names, as llama.cpp's converter has them; the first that matches. */
const names: readonly [RegExp, string][] = [
  [/^model\.embed_tokens|^transformer\.wte/, 'token_embd'],
  [/^transformer\.wpe/, 'position_embd'],
  [/^model\.norm|^transformer\.ln_f/, 'output_norm'],
  [/^lm_head/, 'output'],
  [/input_layernorm|ln_1/, 'attn_norm'],
  [/qkv_proj|c_attn/, 'attn_qkv'],
  [/q_norm/, 'attn_q_norm'],
  [/k_norm/, 'attn_k_norm'],
  [/q_proj/, 'attn_q'],
  [/k_proj/, 'attn_k'],
  [/v_proj/, 'attn_v'],
  [/o_proj|attn\.c_proj/, 'attn_output'],
  [/gate_up_proj|up_proj|c_fc/, 'ffn_up'],
  [/gate_proj/, 'ffn_gate'],
  [/down_proj|mlp\.c_proj/, 'ffn_down'],
  [/pre_feedforward_layernorm|ln_2/, 'ffn_norm'],
  [/post_feedforward_layernorm/, 'post_ffw_norm'],
];

function convert(
  type: string,
  config: Config,
  name: string,
  shape: readonly number[],
  values: Float32Array,
): TensorToWrite {
  const [, block] = /\.(\d+)\./.exec(name) ?? [];
  const gemma = type.startsWith('gemma');
  const family = name.includes('post_attention_layernorm')
    ? gemma
      ? 'post_attention_norm'
      : 'ffn_norm'
    : names.find(([rule]) => rule.test(name))?.[1];
  const kind = name.endsWith('.bias') ? 'bias' : 'weight';
  const ours = `${block === undefined ? '' : `blk.${block}.`}${family}.${kind}`;
  if (architectures[type] === 'llama' && (family === 'attn_q' || family === 'attn_k')) {
    const heads = Number(config[family === 'attn_q' ? 'num_attention_heads' : 'num_key_value_heads']);
    return { name: ours, shape, bytes: float32Bytes(interleaved(values, heads, shape[0] ?? 1)) };
  }
  if (gemma && /norm/.test(name)) return { name: ours, shape, bytes: float32Bytes(values.map((value) => value + 1)) };
  if (type === 'gpt2' && block !== undefined && shape.length === 2) {
    const [rows = 1, columns = 1] = shape;
    return {
      name: ours,
      shape: [columns, rows],
      bytes: float32Bytes(Array.from(values, (_, i) => values[(i % rows) * columns + Math.floor(i / rows)] ?? 0)),
    };
  }
  return { name: ours, shape, bytes: float32Bytes(values) };
}

/** weights.reshape(heads, 2, rows / heads / 2, …).swapaxes(1, 2), as the converter permutes. */
function interleaved(values: Float32Array, heads: number, rows: number): number[] {
  const width = values.length / rows;
  const half = rows / heads / 2;
  const result: number[] = [];
  for (let head = 0; head < heads; head++) {
    for (let pair = 0; pair < half; pair++) {
      for (const side of [0, 1])
        result.push(
          ...values.subarray(((head * 2 + side) * half + pair) * width, ((head * 2 + side) * half + pair + 1) * width),
        );
    }
  }
  return result;
}

function metadataOf(type: string, config: Config): Record<string, GgufValue> {
  const arch = architectures[type] ?? type;
  const rope = (config['rope_parameters'] ?? {}) as Record<string, unknown>;
  const global = (rope['full_attention'] ?? rope) as Record<string, unknown>;
  const entries: Record<string, unknown> =
    type === 'gpt2'
      ? {
          block_count: config['n_layer'],
          context_length: config['n_positions'],
          embedding_length: config['n_embd'],
          feed_forward_length: config['n_inner'] ?? 4 * Number(config['n_embd']),
          'attention.head_count': config['n_head'],
          'attention.layer_norm_epsilon': config['layer_norm_epsilon'],
        }
      : {
          block_count: config['num_hidden_layers'],
          context_length: config['max_position_embeddings'],
          embedding_length: config['hidden_size'],
          feed_forward_length: config['intermediate_size'],
          'attention.head_count': config['num_attention_heads'],
          'attention.head_count_kv': config['num_key_value_heads'],
          'attention.layer_norm_rms_epsilon': config['rms_norm_eps'],
          'attention.key_length': config['head_dim'],
          'rope.freq_base': global['rope_theta'],
          'attention.sliding_window':
            type === 'mistral' || type.startsWith('gemma') ? config['sliding_window'] : undefined,
          'rope.dimension_count':
            type === 'phi3'
              ? (Number(config['hidden_size']) / Number(config['num_attention_heads'])) *
                Number(global['partial_rotary_factor'] ?? 1)
              : undefined,
          attn_logit_softcapping: config['attn_logit_softcapping'] ?? undefined,
          final_logit_softcapping: config['final_logit_softcapping'] ?? undefined,
          'attention.sliding_window_pattern':
            type === 'gemma3_text' ? (config['layer_types'] as string[]).indexOf('full_attention') + 1 : undefined,
          'attention.scale':
            typeof config['query_pre_attn_scalar'] === 'number' ? config['query_pre_attn_scalar'] ** -0.5 : undefined,
        };
  const known = Object.entries(entries)
    .filter(([, value]) => typeof value === 'number')
    .map(([key, value]) => [`${arch}.${key}`, value as number]);
  return { 'general.architecture': arch, ...Object.fromEntries(known) };
}

const vocabularySize = (tensors: readonly TensorToWrite[]): number =>
  tensors.find(({ name }) => name === 'token_embd.weight')?.shape[0] ?? 0;

function tokenizer(size: number): Record<string, GgufValue> {
  const tokens = Array.from({ length: size }, (_, id) =>
    id < 3 ? (['<pad>', '<s>', '</s>'][id] ?? '') : String.fromCharCode(0x4e00 + id),
  );
  return {
    'tokenizer.ggml.model': 'gpt2',
    'tokenizer.ggml.pre': 'gpt-2',
    'tokenizer.ggml.tokens': tokens,
    'tokenizer.ggml.token_type': tokens.map((_, id) => (id < 3 ? 3 : 1)),
    'tokenizer.ggml.merges': [],
    'tokenizer.ggml.bos_token_id': 1,
    'tokenizer.ggml.eos_token_id': 2,
    'tokenizer.ggml.padding_token_id': 0,
  };
}
