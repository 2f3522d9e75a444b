import { blockLength, type QuantizedType } from './quantize.js';

/** How a GGUF file stores weights, by llama.cpp's names. `Q4_K` and `Q5_K` mean the mixture `M`. */
export const exportTypes = [
  'F32',
  'F16',
  'BF16',
  'Q8_0',
  'Q4_0',
  'Q4_1',
  'Q5_0',
  'Q5_1',
  'Q4_K_S',
  'Q4_K_M',
  'Q5_K_S',
  'Q5_K_M',
  'Q6_K',
] as const;
export type ExportType = (typeof exportTypes)[number];

/** `general.file_type` of each type. */
export const fileTypes: Readonly<Record<ExportType, number>> = {
  F32: 0,
  F16: 1,
  Q4_0: 2,
  Q4_1: 3,
  Q8_0: 7,
  Q5_0: 8,
  Q5_1: 9,
  Q4_K_S: 14,
  Q4_K_M: 15,
  Q5_K_S: 16,
  Q5_K_M: 17,
  Q6_K: 18,
  BF16: 32,
};

export const isQuantized = (type: ExportType): boolean => type.startsWith('Q');

/** What stores a row whose length is no multiple of 256. */
const shorterBlocks: Readonly<Record<string, QuantizedType>> = { Q4_K: 'Q5_0', Q5_K: 'Q5_1', Q6_K: 'Q8_0' };

/** A tensor of the file. */
interface Weight {
  /** Its name in GGUF. */
  readonly name: string;
  readonly shape: readonly number[];
}

interface Model {
  readonly layers: number;
  /** Whether the embedding is also the output layer. */
  readonly tiedHead: boolean;
}

/**
 * Returns the type of a tensor, by the rules of llama.cpp's quantiser: vectors and norms stay float32, the output layer
 * gets more bits, and in a mixture so do some values and down projections.
 */
export function typeOfWeight(type: ExportType, weight: Weight, model: Model): QuantizedType {
  const isVector = weight.shape.length < 2 || weight.name.endsWith('_norm.weight');
  if (isVector || weight.name === 'position_embd.weight') return 'F32';
  if (type === 'F32' || type === 'F16' || type === 'BF16') return type;
  const wanted = quantizedType(type, weight.name, model);
  const row = weight.shape.at(-1) ?? 1;
  if (row % blockLength(wanted) === 0) return wanted;
  const shorter = shorterBlocks[wanted];
  return shorter !== undefined && row % blockLength(shorter) === 0 ? shorter : 'F16';
}

function quantizedType(type: Exclude<ExportType, 'F32' | 'F16' | 'BF16'>, name: string, model: Model): QuantizedType {
  const isOutput = name === (model.tiedHead ? 'token_embd.weight' : 'output.weight');
  if (isOutput) return type === 'Q8_0' ? 'Q8_0' : 'Q6_K';
  if (type === 'Q6_K' || !type.includes('_K_')) return type as QuantizedType;
  const base: QuantizedType = type.startsWith('Q4') ? 'Q4_K' : 'Q5_K';
  const [, block = '0', module = ''] = /^blk\.(\d+)\.(\w+)\.weight$/.exec(name) ?? [];
  const layer = Number(block);
  const isMixed = type.endsWith('M');
  if (module === 'attn_qkv') return isMixed ? (base === 'Q4_K' ? 'Q5_K' : 'Q6_K') : base;
  if (module !== 'attn_v' && module !== 'ffn_down') return base;
  if (isMixed) return getsMoreBits(layer, model.layers) ? 'Q6_K' : base;
  const first = module === 'attn_v' ? 4 : Math.floor(model.layers / 8);
  return type === 'Q4_K_S' && layer < first ? 'Q5_K' : base;
}

/** The first and last eighth of the layers, and every third one between. */
function getsMoreBits(layer: number, layers: number): boolean {
  const eighth = Math.floor(layers / 8);
  return layer < eighth || layer >= Math.floor((7 * layers) / 8) || (layer - eighth) % 3 === 2;
}
