import { WhetstoneError } from '@whetstone/core/contract';
import { ownValue } from '@whetstone/core/util';
import type { GgufTensor } from './header.js';
import type { Metadata } from './metadata.js';

/** The Hugging Face tensor that a GGUF tensor becomes, and the conversion of its values. */
export interface WeightTarget {
  readonly name: string;
  readonly shape: readonly number[];
  readonly transform: (values: Float32Array) => Float32Array;
}

interface NameMap {
  readonly [gguf: string]: string;
}

const common: NameMap = {
  attn_norm: 'input_layernorm',
  attn_q: 'self_attn.q_proj',
  attn_k: 'self_attn.k_proj',
  attn_v: 'self_attn.v_proj',
  attn_output: 'self_attn.o_proj',
  attn_q_norm: 'self_attn.q_norm',
  attn_k_norm: 'self_attn.k_norm',
  ffn_gate: 'mlp.gate_proj',
  ffn_up: 'mlp.up_proj',
  ffn_down: 'mlp.down_proj',
};
const plain: NameMap = { ...common, ffn_norm: 'post_attention_layernorm' };
const gemma: NameMap = {
  ...common,
  post_attention_norm: 'post_attention_layernorm',
  ffn_norm: 'pre_feedforward_layernorm',
  post_ffw_norm: 'post_feedforward_layernorm',
};
const phi3: NameMap = { ...plain, attn_qkv: 'self_attn.qkv_proj', ffn_up: 'mlp.gate_up_proj' };
const gpt2: NameMap = {
  attn_norm: 'ln_1',
  attn_qkv: 'attn.c_attn',
  attn_output: 'attn.c_proj',
  ffn_norm: 'ln_2',
  ffn_up: 'mlp.c_fc',
  ffn_down: 'mlp.c_proj',
};
const topLevel: NameMap = { token_embd: 'model.embed_tokens', output_norm: 'model.norm', output: 'lm_head' };
const gpt2Top: NameMap = {
  token_embd: 'transformer.wte',
  position_embd: 'transformer.wpe',
  output_norm: 'transformer.ln_f',
  output: 'lm_head',
};

interface Layout {
  readonly layers: NameMap;
  readonly top: NameMap;
  readonly layerPrefix: string;
  /** GGUF stores the rows of q and k in a different order: rotary pairs are interleaved. */
  readonly permuted?: boolean;
  /** GGUF stores norm weights plus one. */
  readonly normPlusOne?: boolean;
  /** Hugging Face stores linear layers as Conv1D, [in, out]. */
  readonly transposed?: boolean;
}

const layouts: Readonly<Record<string, Layout>> = {
  llama: { layers: plain, top: topLevel, layerPrefix: 'model.layers', permuted: true },
  qwen2: { layers: plain, top: topLevel, layerPrefix: 'model.layers' },
  qwen3: { layers: plain, top: topLevel, layerPrefix: 'model.layers' },
  phi3: { layers: phi3, top: topLevel, layerPrefix: 'model.layers' },
  gemma2: { layers: gemma, top: topLevel, layerPrefix: 'model.layers', normPlusOne: true },
  gemma3: { layers: gemma, top: topLevel, layerPrefix: 'model.layers', normPlusOne: true },
  gpt2: { layers: gpt2, top: gpt2Top, layerPrefix: 'transformer.h', transposed: true },
};

const supportedArchitectures: readonly string[] = Object.keys(layouts);

/** Tensors whose values become fields of config.json. */
const notStored = new Set(['rope_freqs.weight', 'rope_factors_long.weight', 'rope_factors_short.weight']);

const unchanged = (values: Float32Array): Float32Array => values;

/**
 * Returns the Hugging Face tensor for a GGUF tensor; null if a Hugging Face folder does not store it.
 *
 * @throws `GGUF_UNSUPPORTED` if the tensor is unknown
 */
export function mapWeight(file: string, metadata: Metadata, tensor: GgufTensor): WeightTarget | null {
  const layout = ownValue(layouts, metadata.architecture);
  if (layout === undefined) throw unknownArchitecture(file, metadata.architecture);
  if (notStored.has(tensor.name) || tensor.name.endsWith('.attn_rot_embd.weight')) return null;
  const match = /^(?:blk\.(\d+)\.)?(\w+)\.(weight|bias)$/.exec(tensor.name);
  const [, block, family, kind] = match ?? [];
  const target = family === undefined ? undefined : block === undefined ? layout.top[family] : layout.layers[family];
  if (family === undefined || target === undefined) {
    throw new WhetstoneError(
      'GGUF_UNSUPPORTED',
      `The tensor is not a known tensor of a ${metadata.architecture} model.`,
      {
        place: { file, tensor: tensor.name },
        hint: 'Mixtures of experts, vision models and split files cannot be imported.',
      },
    );
  }
  const name = `${block === undefined ? '' : `${layout.layerPrefix}.${block}.`}${target}.${kind ?? 'weight'}`;
  const { shape } = tensor;
  if (layout.permuted === true && (family === 'attn_q' || family === 'attn_k')) {
    const heads = metadata.number(
      family === 'attn_q' || !metadata.has('arch.attention.head_count_kv')
        ? 'arch.attention.head_count'
        : 'arch.attention.head_count_kv',
    );
    return { name, shape, transform: (values) => unpermuteRows(values, heads, shape[0] ?? 1) };
  }
  if (layout.normPlusOne === true && family.endsWith('norm'))
    return { name, shape, transform: (values) => values.map((value) => value - 1) };
  const [rows, columns] = shape;
  if (layout.transposed === true && block !== undefined && rows !== undefined && columns !== undefined) {
    return { name, shape: [columns, rows], transform: (values) => transpose(values, rows, columns) };
  }
  return { name, shape, transform: unchanged };
}

/** Creates the error for an architecture that cannot be imported. */
export function unknownArchitecture(file: string, architecture: string): WhetstoneError {
  return new WhetstoneError('GGUF_UNSUPPORTED', 'The architecture of the model is not supported.', {
    place: { file, path: 'general.architecture' },
    expected: `one of ${supportedArchitectures.join(', ')}`,
    found: architecture,
  });
}

/**
 * Reorders the rows of a Llama projection from GGUF's layout to Hugging Face's. In GGUF, the rotary pairs of a head are
 * adjacent (rows 2i and 2i + 1). In Hugging Face, they are half a head apart (rows i and i + headDim ÷ 2). Shapes:
 * `[heads, headDim / 2, 2, …]` → `[heads, 2, headDim / 2, …]`.
 */
function unpermuteRows(values: Float32Array, heads: number, rows: number): Float32Array {
  const width = values.length / rows;
  const headRows = rows / heads;
  const out = new Float32Array(values.length);
  for (let row = 0; row < rows; row++) {
    const head = Math.floor(row / headRows);
    const within = row - head * headRows;
    const from = head * headRows + (within < headRows / 2 ? 2 * within : 2 * (within - headRows / 2) + 1);
    out.set(values.subarray(from * width, (from + 1) * width), row * width);
  }
  return out;
}

function transpose(values: Float32Array, rows: number, columns: number): Float32Array {
  const out = new Float32Array(values.length);
  for (let row = 0; row < rows; row++)
    for (let column = 0; column < columns; column++) out[column * rows + row] = values[row * columns + column] ?? 0;
  return out;
}
