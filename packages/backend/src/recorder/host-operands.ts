import type { Engine, EngineTensor } from '../engines/engine.js';
import type { HostOperand } from '../kernels/kernel.js';
import { physicalTypes, toTypedArray, type PhysicalType, type TypedArray } from './types.js';
import type { Value } from './value.js';

interface Entry {
  readonly operand: HostOperand;
  tensor: EngineTensor | null;
}

/** Enough for the shapes and scalars of many graphs; a table that grows past it is emptied between two graphs. */
const MOST_ENTRIES = 4096;

/** Exact content as a key: bits, so that -0, NaN and 0 stay apart. */
function contentKey(type: PhysicalType, shape: readonly number[], values: TypedArray): string {
  const bits =
    values instanceof Float32Array ? new Int32Array(values.buffer, values.byteOffset, values.length) : values;
  return `${physicalTypes.indexOf(type)}:${shape.length === 1 ? 'vector' : shape.join()}:${bits.join()}`;
}

/** Interns small host tensors: one number and one device tensor for each content. */
export class HostOperands {
  private ids = new Map<string, number>();
  private entries: Entry[] = [];
  /** Numbers of lists that never change, in the generation they are of: kernels give them for layer after layer. */
  private readonly lists = new WeakMap<
    readonly HostOperand[],
    { readonly generation: number; readonly ids: readonly number[] }
  >();
  /** Changes whenever numbers given out before are no longer valid. */
  generation = 0;

  /** @param onUpload told the bytes of whatever goes to the device */
  constructor(
    private readonly engine: Engine,
    private readonly onUpload: (bytes: number) => void,
  ) {}

  intern(operand: HostOperand): number {
    const key = contentKey(operand.type, operand.shape, operand.values);
    const known = this.ids.get(key);
    if (known !== undefined) return known;
    const id = this.entries.length;
    this.entries.push({ operand, tensor: null });
    this.ids.set(key, id);
    return id;
  }

  /** The number of a value that is on the host. */
  idOf(value: Value): number {
    if (value.hostGeneration !== this.generation) {
      const values = toTypedArray(value.host as ArrayLike<number>, value.type);
      value.hostId = this.intern({ type: value.type, shape: value.shape, values });
      value.hostGeneration = this.generation;
    }
    return value.hostId;
  }

  /** The numbers of a kernel's operands. A frozen list is looked through once. */
  internAll(operands: readonly HostOperand[]): readonly number[] {
    const known = Object.isFrozen(operands) ? this.lists.get(operands) : undefined;
    if (known?.generation === this.generation) return known.ids;
    const ids = operands.map((operand) => this.intern(operand));
    if (Object.isFrozen(operands)) this.lists.set(operands, { generation: this.generation, ids });
    return ids;
  }

  typeOf(id: number): PhysicalType {
    return this.entry(id).operand.type;
  }

  /** The device's copy; stays owned by the table. */
  tensor(id: number): EngineTensor {
    const entry = this.entry(id);
    if (entry.tensor === null) {
      entry.tensor = this.engine.upload(entry.operand.type, entry.operand.shape, entry.operand.values);
      this.onUpload(entry.operand.values.byteLength);
    }
    return entry.tensor;
  }

  /** Call between graphs: bounds the table. */
  sweep(): void {
    if (this.entries.length > MOST_ENTRIES) this.clear();
  }

  clear(): void {
    for (const { tensor } of this.entries) if (tensor !== null) this.engine.release(tensor);
    this.entries = [];
    this.ids = new Map();
    this.generation++;
  }

  private entry(id: number): Entry {
    const entry = this.entries[id];
    if (entry === undefined) throw new RangeError(`no host operand ${id}`);
    return entry;
  }
}
