import { WhetstoneError, type PackedFourBit, type PackedInt8, type PackedTensor } from '@whetstone/core/contract';
import { sizeOfShape } from '@whetstone/core/util';
import { scalar, vector } from '../kernels/kernel.js';
import { toBfloat16 } from '../kernels/packed-weights.js';
import type { Recorder } from './recorder.js';
import { bytesPerElement, type DeviceArray, type StorageDtype } from './types.js';
import { Value, type PackedComponents } from './value.js';

/** A component of a packed tensor before it is on the device. */
interface ComponentData {
  readonly type: StorageDtype;
  readonly shape: readonly number[];
  readonly values: DeviceArray;
}

interface PackedLayout extends Omit<PackedComponents, 'components' | 'tables'> {
  readonly components: readonly ComponentData[];
  readonly tables: readonly ComponentData[];
}

/** Creates values whose numbers take fewer bytes than float32. */
export class PackedTensorStore {
  /** Code tables of packed formats by content, so that the device holds one of each. */
  private readonly tables = new Map<string, Value>();

  constructor(private readonly recorder: Recorder) {}

  pack(packed: PackedTensor): Value {
    const { components, tables, ...layout } = layoutOf(packed);
    return packedValue(packed.shape, {
      ...layout,
      components: components.map((component) => this.upload(component)),
      tables: tables.map((table) => this.tableOf(table)),
    });
  }

  roundToBfloat16(value: Value, shape: readonly number[]): Value {
    const [rounded] = this.recorder.record(toBfloat16, [this.recorder.reshapeView(value, shape)], {
      outputs: [{ shape, dtype: 'float32', storageDtype: 'bfloat16' }],
    });
    return packedValue(shape, bfloat16Components(rounded as Value));
  }

  /** Creates a value from bytes that `fill` writes to their final location. */
  async load(
    shape: readonly number[],
    format: 'float32' | 'bfloat16',
    fill: (bytes: Uint8Array) => Promise<void>,
  ): Promise<Value> {
    const { engine, memory } = this.recorder;
    const value = new Value(shape.slice(), 'float32', format);
    memory.adoptUploaded(value, await engine.uploadFrom(format, shape, fill));
    return format === 'bfloat16' ? packedValue(shape, bfloat16Components(value)) : value;
  }

  clear(): void {
    for (const table of this.tables.values()) this.recorder.memory.release(table);
    this.tables.clear();
  }

  private upload({ type, shape, values }: ComponentData): Value {
    if (values.length !== sizeOfShape(shape))
      throw new WhetstoneError('INTERNAL', 'A component of a packed tensor has the wrong number of elements.', {
        expected: `${sizeOfShape(shape)} of ${bytesPerElement[type]} bytes`,
        found: String(values.length),
      });
    const value = new Value(shape, type === 'int8' || type === 'uint8' ? 'int32' : 'float32', type);
    this.recorder.memory.adoptUploaded(value, this.recorder.engine.upload(type, shape, values));
    return value;
  }

  private tableOf(table: ComponentData): Value {
    const key = table.values.join();
    const known = this.tables.get(key) ?? this.upload(table);
    this.tables.set(key, known);
    return known;
  }
}

function packedValue(shape: readonly number[], components: PackedComponents): Value {
  const value = new Value(shape.slice(), 'float32');
  value.packed = components;
  return value;
}

const bfloat16Components = (bits: Value): PackedComponents => ({
  format: 'bfloat16',
  components: [bits],
  tables: [],
  parameters: ['bfloat16'],
  host: [],
  productDtype: 'float32',
});

const BLOCK = 64;
const NESTED_BLOCK = 256;

/**
 * Returns the components of packed weights on the device. Zeros complete the last block, so that the unpacking
 * operation works with rectangles. Its host operands are the intermediate shapes.
 */
function layoutOf(packed: PackedTensor): PackedLayout {
  switch (packed.format) {
    case 'bfloat16':
      return {
        format: 'bfloat16',
        components: [{ type: 'bfloat16', shape: packed.shape, values: packed.bits }],
        tables: [],
        parameters: ['bfloat16'],
        host: [],
        productDtype: 'float32',
      };
    case 'int8':
      return int8Layout(packed);
    default:
      return fourBitLayout(packed);
  }
}

/** Returns the shape in which a packed matrix is stored. */
const storedShape = ({ shape, transposed }: { readonly shape: readonly number[]; readonly transposed: boolean }) =>
  transposed ? [...shape].reverse() : shape;

function int8Layout(packed: PackedInt8): PackedLayout {
  const shape = storedShape(packed);
  const [rows = 1] = shape;
  return {
    format: 'int8',
    components: [
      { type: 'int8', shape, values: packed.values },
      { type: 'float32', shape: [rows, 1], values: packed.scales },
    ],
    tables: [],
    parameters: ['int8', packed.transposed],
    host: [],
    productDtype: packed.computeDtype ?? 'float32',
  };
}

function fourBitLayout(packed: PackedFourBit): PackedLayout {
  const { format, scales, transposed } = packed;
  const productDtype = packed.computeDtype ?? 'float32';
  const count = sizeOfShape(packed.shape);
  const blocks = Math.ceil(count / BLOCK);
  const bytes = padWithZeros(packed.packed, (blocks * BLOCK) / 2);
  const nibbles: ComponentData = { type: 'uint8', shape: [bytes.length], values: bytes };
  const pairs: ComponentData = { type: 'float32', shape: [256, 2], values: codePairs(packed.code) };
  const isPadded = blocks * BLOCK !== count;
  const shapes = [
    vector([blocks, BLOCK / 2]),
    vector([blocks, BLOCK]),
    vector([blocks * BLOCK]),
    vector([count]),
    vector(storedShape(packed)),
  ];
  if (scales.kind === 'single') {
    return {
      format,
      components: [nibbles, { type: 'float32', shape: [blocks, 1], values: scales.absmax }],
      tables: [pairs],
      parameters: ['four-bit', transposed, 'single', isPadded],
      host: shapes,
      productDtype,
    };
  }
  const groups = Math.ceil(blocks / NESTED_BLOCK);
  return {
    format,
    components: [
      nibbles,
      {
        type: 'uint8',
        shape: [groups, NESTED_BLOCK],
        values: padWithZeros(scales.quantised, groups * NESTED_BLOCK),
      },
      { type: 'float32', shape: [groups, 1], values: scales.nestedAbsmax },
    ],
    tables: [pairs, { type: 'float32', shape: [scales.code.length], values: scales.code }],
    parameters: ['four-bit', transposed, 'double', isPadded, groups * NESTED_BLOCK !== blocks],
    host: [
      ...shapes,
      scalar(scales.offset, 'float32'),
      vector([groups * NESTED_BLOCK]),
      vector([blocks]),
      vector([blocks, 1]),
    ],
    productDtype,
  };
}

/** Returns the values with zeros appended up to `length`. */
function padWithZeros(values: Uint8Array, length: number): Uint8Array {
  if (values.length === length) return values;
  const longer = new Uint8Array(length);
  longer.set(values);
  return longer;
}

/** Returns both numbers of each byte [256, 2]: one look-up per byte instead of two. */
function codePairs(code: Float32Array): Float32Array {
  return Float32Array.from({ length: 512 }, (_, index) => code[index % 2 === 0 ? index >> 5 : (index >> 1) & 15] ?? 0);
}
