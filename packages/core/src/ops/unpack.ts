import type { PackedFourBit, PackedInt8, PackedTensor } from '../contract/storage.js';
import { sizeOfShape } from '../util/index.js';

const BLOCK = 64;
const NESTED_BLOCK = 256;

/** Returns the scales of the blocks. Compressed scales are decompressed. */
export function scalesOfBlocks({ scales }: Pick<PackedFourBit, 'scales'>): Float32Array {
  if (scales.kind === 'single') return scales.absmax;
  const { quantised, nestedAbsmax, offset, code } = scales;
  return Float32Array.from(
    quantised,
    (byte, index) => Math.fround((code[byte] ?? 0) * (nestedAbsmax[Math.floor(index / NESTED_BLOCK)] ?? 0)) + offset,
  );
}

function unpackFourBit(tensor: PackedFourBit, count: number): Float32Array {
  const { code, packed } = tensor;
  const scales = scalesOfBlocks(tensor);
  const values = new Float32Array(count);
  // The values of the 16 nibbles within one block.
  const scaled = new Float32Array(16);
  for (let start = 0, block = 0; start < count; start += BLOCK, block++) {
    const scale = scales[block] ?? 0;
    for (let nibble = 0; nibble < 16; nibble++) scaled[nibble] = (code[nibble] ?? 0) * scale;
    const end = Math.min(start + BLOCK, count);
    for (let index = start; index < end; index += 2) {
      const byte = packed[index >> 1] ?? 0;
      values[index] = scaled[byte >> 4] ?? 0;
      // For an odd count, the last nibble is unused: typed arrays ignore writes beyond their end.
      values[index + 1] = scaled[byte & 15] ?? 0;
    }
  }
  return values;
}

function unpackInt8({ values, scales }: PackedInt8, count: number): Float32Array {
  const columns = scales.length === 0 ? 0 : count / scales.length;
  const numbers = new Float32Array(count);
  for (let row = 0, index = 0; row < scales.length; row++) {
    const scale = scales[row] ?? 0;
    for (let column = 0; column < columns; column++, index++) numbers[index] = (values[index] ?? 0) * scale;
  }
  return numbers;
}

function widen(bits: Uint16Array): Float32Array {
  const words = Uint32Array.from(bits, (half) => half << 16);
  return new Float32Array(words.buffer);
}

/** Transposes [columns, rows] to [rows, columns]. */
export function transposed(values: Float32Array, rows: number, columns: number): Float32Array {
  const result = new Float32Array(values.length);
  for (let row = 0; row < rows; row++)
    for (let column = 0; column < columns; column++) result[row * columns + column] = values[column * rows + row] ?? 0;
  return result;
}

/** Returns the float32 values of a packed tensor, in the order of its shape. */
export function unpackOnHost(packed: PackedTensor): Float32Array {
  if (packed.format === 'bfloat16') return widen(packed.bits);
  const count = sizeOfShape(packed.shape);
  const values = packed.format === 'int8' ? unpackInt8(packed, count) : unpackFourBit(packed, count);
  const [rows = 1, columns = 1] = packed.shape;
  return packed.transposed ? transposed(values, rows, columns) : values;
}
