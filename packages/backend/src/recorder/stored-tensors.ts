import { WhetstoneError, type PackedTensor } from '@whetstone/core/contract';
import { toBfloat16 } from '../kernels/unpack.js';
import type { Recorder } from './recorder.js';
import { bfloat16Of, layoutOf, type PartData } from './stored.js';
import { bytesPerElement, sizeOf } from './types.js';
import { Value, type StoredParts } from './value.js';

/** Makes values whose numbers are kept in fewer bytes than float32 has. */
export class StoredTensors {
  /** Tables of packed formats by what they hold: one of each on the device. */
  private readonly tables = new Map<string, Value>();

  constructor(private readonly recorder: Recorder) {}

  pack(packed: PackedTensor): Value {
    const { parts, tables, ...form } = layoutOf(packed);
    return stored(packed.shape, {
      ...form,
      parts: parts.map((part) => this.upload(part)),
      tables: tables.map((table) => this.tableOf(table)),
    });
  }

  /** The numbers of a value rounded to bfloat16. */
  inBfloat16(value: Value, shape: readonly number[]): Value {
    const [part] = this.recorder.record(toBfloat16, [this.recorder.seenAs(value, shape)], {
      outputs: [{ shape, dtype: 'float32', physical: 'bfloat16' }],
    });
    return stored(shape, bfloat16Of(part as Value));
  }

  /** Numbers that `fill` writes where they stay. */
  async from(
    shape: readonly number[],
    format: 'float32' | 'bfloat16',
    fill: (bytes: Uint8Array) => Promise<void>,
  ): Promise<Value> {
    const { engine, memory } = this.recorder;
    const value = new Value(shape.slice(), 'float32', format);
    memory.adoptUploaded(value, await engine.uploadFrom(format, shape, fill));
    return format === 'bfloat16' ? stored(shape, bfloat16Of(value)) : value;
  }

  clear(): void {
    for (const table of this.tables.values()) this.recorder.memory.release(table);
    this.tables.clear();
  }

  private upload({ type, shape, values }: PartData): Value {
    if (values.length !== sizeOf(shape))
      throw new WhetstoneError('INTERNAL', 'A packed tensor lacks some of its numbers.', {
        expected: `${sizeOf(shape)} of ${bytesPerElement[type]} bytes`,
        found: String(values.length),
      });
    const value = new Value(shape, type === 'int8' || type === 'uint8' ? 'int32' : 'float32', type);
    this.recorder.memory.adoptUploaded(value, this.recorder.engine.upload(type, shape, values));
    return value;
  }

  private tableOf(table: PartData): Value {
    const key = table.values.join();
    const known = this.tables.get(key) ?? this.upload(table);
    this.tables.set(key, known);
    return known;
  }
}

function stored(shape: readonly number[], parts: StoredParts): Value {
  const value = new Value(shape.slice(), 'float32');
  value.stored = parts;
  return value;
}
