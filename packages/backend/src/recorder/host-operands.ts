import type { Engine, EngineTensor } from '../engines/engine.js';
import type { HostOperand } from '../kernels/kernel.js';
import { storageDtypes, toTypedArray, type StorageDtype, type TypedArray } from './types.js';
import type { Value } from './value.js';

interface Entry {
  readonly operand: HostOperand;
  tensor: EngineTensor | null;
}

/** Enough for the shapes and scalars of many graphs. A larger table is cleared between two graphs. */
const MAX_ENTRIES = 4096;

/** Returns the exact content as a key. It uses bits, because -0 and NaN must stay distinct. */
function contentKey(type: StorageDtype, shape: readonly number[], values: TypedArray): string {
  const bits =
    values instanceof Float32Array ? new Int32Array(values.buffer, values.byteOffset, values.length) : values;
  return `${storageDtypes.indexOf(type)}:${shape.length === 1 ? 'vector' : shape.join()}:${bits.join()}`;
}

/** Interns small tensors from the host: one id and one device tensor per content. */
export class HostOperands {
  private ids = new Map<string, number>();
  private entries: Entry[] = [];
  /** Ids of frozen operand lists, which kernels share between layers, with the generation of the ids. */
  private readonly lists = new WeakMap<
    readonly HostOperand[],
    { readonly generation: number; readonly ids: readonly number[] }
  >();
  /** Changes when earlier ids become invalid. */
  generation = 0;

  /** @param onUpload called with the number of bytes of each upload */
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

  /** Returns the id of a value on the host. */
  idOf(value: Value): number {
    if (value.hostGeneration !== this.generation) {
      const values = toTypedArray(value.host as ArrayLike<number>, value.storageDtype);
      value.hostId = this.intern({ type: value.storageDtype, shape: value.shape, values });
      value.hostGeneration = this.generation;
    }
    return value.hostId;
  }

  /** Returns the ids of a kernel's operands. Those of a frozen list are looked up once per generation. */
  internAll(operands: readonly HostOperand[]): readonly number[] {
    const known = Object.isFrozen(operands) ? this.lists.get(operands) : undefined;
    if (known?.generation === this.generation) return known.ids;
    const ids = operands.map((operand) => this.intern(operand));
    if (Object.isFrozen(operands)) this.lists.set(operands, { generation: this.generation, ids });
    return ids;
  }

  typeOf(id: number): StorageDtype {
    return this.entry(id).operand.type;
  }

  /** Returns the tensor on the device, which this table owns. */
  tensor(id: number): EngineTensor {
    const entry = this.entry(id);
    if (entry.tensor === null) {
      entry.tensor = this.engine.upload(entry.operand.type, entry.operand.shape, entry.operand.values);
      this.onUpload(entry.operand.values.byteLength);
    }
    return entry.tensor;
  }

  /** Clears a table that grew too large. Call it between graphs only. */
  trim(): void {
    if (this.entries.length > MAX_ENTRIES) this.clear();
  }

  clear(): void {
    for (const { tensor } of this.entries) if (tensor !== null) this.engine.release(tensor);
    this.entries = [];
    this.ids = new Map();
    this.generation++;
  }

  private entry(id: number): Entry {
    const entry = this.entries[id];
    if (entry === undefined) throw new RangeError(`Host operand ${id} not found.`);
    return entry;
  }
}
