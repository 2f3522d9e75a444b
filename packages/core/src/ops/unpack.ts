import type { PackedFourBit, PackedInt8, PackedTensor } from '../contract/storage.js';

const BLOCK = 64;
const NESTED_BLOCK = 256;

/** The scales of the blocks, decompressed where they are compressed themselves. */
export function scalesOfBlocks({ scales }: Pick<PackedFourBit, 'scales'>): Float32Array {
  if (scales.kind === 'single') return scales.absmax;
  const { quantised, nestedAbsmax, offset, code } = scales;
  return Float32Array.from(quantised, (byte, index) => Math.fround((code[byte] ?? 0) * (nestedAbsmax[Math.floor(index / NESTED_BLOCK)] ?? 0)) + offset);
}

function unpackFourBit(tensor: PackedFourBit, count: number): Float32Array {
  const { code, packed } = tensor;
  const scales = scalesOfBlocks(tensor);
  const values = new Float32Array(count);
  for (let index = 0; index < count; index++) {
    const byte = packed[index >> 1] ?? 0;
    values[index] = (code[index % 2 === 0 ? byte >> 4 : byte & 15] ?? 0) * (scales[Math.floor(index / BLOCK)] ?? 0);
  }
  return values;
}

function unpackInt8({ values, scales }: PackedInt8, count: number): Float32Array {
  const columns = scales.length === 0 ? 0 : count / scales.length;
  return Float32Array.from(values, (value, index) => value * (scales[Math.floor(index / columns)] ?? 0));
}

function widen(bits: Uint16Array): Float32Array {
  const words = Uint32Array.from(bits, (half) => half << 16);
  return new Float32Array(words.buffer);
}

/** [columns, rows] as [rows, columns]. */
export function transposed(values: Float32Array, rows: number, columns: number): Float32Array {
  const result = new Float32Array(values.length);
  for (let row = 0; row < rows; row++) for (let column = 0; column < columns; column++) result[row * columns + column] = values[column * rows + row] ?? 0;
  return result;
}

/** The float32 numbers that a packed tensor stands for, in the order of its shape. */
export function unpackOnHost(packed: PackedTensor): Float32Array {
  if (packed.format === 'bfloat16') return widen(packed.bits);
  const count = packed.shape.reduce((product, size) => product * size, 1);
  const values = packed.format === 'int8' ? unpackInt8(packed, count) : unpackFourBit(packed, count);
  const [rows = 1, columns = 1] = packed.shape;
  return packed.transposed ? transposed(values, rows, columns) : values;
}
