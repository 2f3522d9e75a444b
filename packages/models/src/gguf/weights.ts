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

/** A tensor of a GGUF file that a Hugging Face tensor becomes, and the conversion of its values. */
export interface ExportedWeight {
  readonly name: string;
  readonly shape: readonly number[];
  readonly transform: (values: Float32Array) => Float32Array;
}

/** The heads of a model: {@link exportWeight} reorders the rows of their projections. */
export interface HeadCounts {
  readonly query: number;
  readonly keyValue: number;
}

/**
 * Returns the GGUF tensor for a Hugging Face tensor: the inverse of {@link mapWeight}. Null if GGUF has no name for it.
 *
 * @param architecture a name of GGUF, such as `llama`
 */
export function exportWeight(
  architecture: string,
  tensor: { readonly name: string; readonly shape: readonly number[] },
  heads: HeadCounts,
): ExportedWeight | null {
  const layout = ownValue(layouts, architecture);
  const [, path = '', kind = ''] = /^(.*)\.(weight|bias)$/.exec(tensor.name) ?? [];
  if (layout === undefined || path === '') return null;
  const prefix = `${layout.layerPrefix}.`;
  const [, block, module = ''] = path.startsWith(prefix) ? (/^(\d+)\.(.*)$/.exec(path.slice(prefix.length)) ?? []) : [];
  const family = keyOf(block === undefined ? layout.top : layout.layers, block === undefined ? path : module);
  if (family === undefined) return null;
  const name = `${block === undefined ? '' : `blk.${block}.`}${family}.${kind}`;
  const { shape } = tensor;
  const [rows = 1, columns] = shape;
  if (layout.permuted === true && (family === 'attn_q' || family === 'attn_k')) {
    const count = family === 'attn_q' ? heads.query : heads.keyValue;
    return { name, shape, transform: (values) => permuteRows(values, count, rows) };
  }
  if (layout.normPlusOne === true && family.endsWith('norm'))
    return { name, shape, transform: (values) => values.map((value) => value + 1) };
  if (layout.transposed === true && block !== undefined && columns !== undefined)
    return { name, shape: [columns, rows], transform: (values) => transpose(values, rows, columns) };
  return { name, shape, transform: unchanged };
}

const keyOf = (names: NameMap, value: string): string | undefined =>
  Object.keys(names).find((key) => names[key] === value);

/** Creates the error for an architecture that cannot be imported. */
export function unknownArchitecture(file: string, architecture: string): WhetstoneError {
  return new WhetstoneError('GGUF_UNSUPPORTED', 'The architecture of the model is not supported.', {
    place: { file, path: 'general.architecture' },
    expected: `one of ${supportedArchitectures.join(', ')}`,
    found: architecture,
  });
}

/**
 * Returns where GGUF stores a row of a Llama projection of Hugging Face. In GGUF, the rotary pairs of a head are
 * adjacent (rows 2i and 2i + 1). In Hugging Face, they are half a head apart (rows i and i + headDim ÷ 2). Shapes:
 * `[heads, headDim / 2, 2, …]` → `[heads, 2, headDim / 2, …]`.
 */
function storedRow(row: number, headRows: number): number {
  const first = Math.floor(row / headRows) * headRows;
  const within = row - first;
  return first + (within < headRows / 2 ? 2 * within : 2 * (within - headRows / 2) + 1);
}

/** Reorders the rows of a projection from GGUF's order to Hugging Face's. */
function unpermuteRows(values: Float32Array, heads: number, rows: number): Float32Array {
  const width = values.length / rows;
  const out = new Float32Array(values.length);
  for (let row = 0; row < rows; row++) {
    const stored = storedRow(row, rows / heads);
    out.set(values.subarray(stored * width, (stored + 1) * width), row * width);
  }
  return out;
}

/** Reorders the rows of a projection from Hugging Face's order to GGUF's. */
function permuteRows(values: Float32Array, heads: number, rows: number): Float32Array {
  const width = values.length / rows;
  const out = new Float32Array(values.length);
  for (let row = 0; row < rows; row++)
    out.set(values.subarray(row * width, (row + 1) * width), storedRow(row, rows / heads) * width);
  return out;
}

function transpose(values: Float32Array, rows: number, columns: number): Float32Array {
  const out = new Float32Array(values.length);
  for (let row = 0; row < rows; row++)
    for (let column = 0; column < columns; column++) out[column * rows + row] = values[row * columns + column] ?? 0;
  return out;
}
