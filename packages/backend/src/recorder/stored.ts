import type { PackedTensor } from '@whetstone/core/contract';
import { scalar, vector } from '../kernels/kernel.js';
import { sizeOf, type PhysicalType, type DeviceArray } from './types.js';
import type { StoredParts, Value } from './value.js';

/** What numbers kept in bfloat16 consist of. */
export const bfloat16Of = (part: Value): StoredParts => ({
  format: 'bfloat16',
  parts: [part],
  tables: [],
  parameters: ['bfloat16'],
  host: [],
  multipliedAs: 'float32',
});

/** A part before it is on the device. */
export interface PartData {
  readonly type: PhysicalType;
  readonly shape: readonly number[];
  readonly values: DeviceArray;
}

export interface PackedLayout extends Omit<StoredParts, 'parts' | 'tables'> {
  readonly parts: readonly PartData[];
  readonly tables: readonly PartData[];
}

const BLOCK = 64;
const NESTED_BLOCK = 256;

/** The same bytes with zeros behind them, up to a whole number of blocks. */
function padded<T extends Uint8Array | Float32Array>(values: T, length: number, empty: (length: number) => T): T {
  if (values.length === length) return values;
  const longer = empty(length);
  longer.set(values);
  return longer;
}

/** Both numbers of each byte: one look-up a byte instead of two. */
function pairsOf(code: Float32Array): Float32Array {
  return Float32Array.from({ length: 512 }, (_, index) => code[index % 2 === 0 ? index >> 5 : (index >> 1) & 15] ?? 0);
}

/**
 * How packed weights lie on the device. Blocks are made whole with zeros, so that the unpacking operation has
 * rectangles to work with: its host operands are the shapes on the way.
 */
export function layoutOf(packed: PackedTensor): PackedLayout {
  return {
    ...placesOf(packed),
    multipliedAs: packed.format === 'bfloat16' ? 'float32' : (packed.computeDtype ?? 'float32'),
  };
}

function placesOf(packed: PackedTensor): Omit<PackedLayout, 'multipliedAs'> {
  const { shape } = packed;
  if (packed.format === 'bfloat16')
    return {
      format: 'bfloat16',
      parts: [{ type: 'bfloat16', shape, values: packed.bits }],
      tables: [],
      parameters: ['bfloat16'],
      host: [],
    };
  const turned = packed.transposed ? [...shape].reverse() : shape;
  if (packed.format === 'int8') {
    const [rows = 1] = turned;
    return {
      format: 'int8',
      parts: [
        { type: 'int8', shape: turned, values: packed.values },
        { type: 'float32', shape: [rows, 1], values: packed.scales },
      ],
      tables: [],
      parameters: ['int8', packed.transposed],
      host: [],
    };
  }
  const count = sizeOf(shape);
  const blocks = Math.ceil(count / BLOCK);
  const bytes = padded(packed.packed, (blocks * BLOCK) / 2, (length) => new Uint8Array(length));
  const nibbles: PartData = { type: 'uint8', shape: [bytes.length], values: bytes };
  const pairs: PartData = { type: 'float32', shape: [256, 2], values: pairsOf(packed.code) };
  const { scales } = packed;
  const cutsNumbers = blocks * BLOCK !== count;
  const shapes = [
    vector([blocks, BLOCK / 2]),
    vector([blocks, BLOCK]),
    vector([blocks * BLOCK]),
    vector([count]),
    vector(turned),
  ];
  if (scales.kind === 'single') {
    return {
      format: packed.format,
      parts: [nibbles, { type: 'float32', shape: [blocks, 1], values: scales.absmax }],
      tables: [pairs],
      parameters: ['four-bit', packed.transposed, 'single', cutsNumbers],
      host: shapes,
    };
  }
  const groups = Math.ceil(blocks / NESTED_BLOCK);
  return {
    format: packed.format,
    parts: [
      nibbles,
      {
        type: 'uint8',
        shape: [groups, NESTED_BLOCK],
        values: padded(scales.quantised, groups * NESTED_BLOCK, (length) => new Uint8Array(length)),
      },
      { type: 'float32', shape: [groups, 1], values: scales.nestedAbsmax },
    ],
    tables: [pairs, { type: 'float32', shape: [scales.code.length], values: scales.code }],
    parameters: ['four-bit', packed.transposed, 'double', cutsNumbers, groups * NESTED_BLOCK !== blocks],
    host: [
      ...shapes,
      scalar(scales.offset, 'float32'),
      vector([groups * NESTED_BLOCK]),
      vector([blocks]),
      vector([blocks, 1]),
    ],
  };
}
