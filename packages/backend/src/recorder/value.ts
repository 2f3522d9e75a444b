import type { BackendValues, DataType, engine, TensorInfo } from '@tensorflow/tfjs-core';
import type { StorageFormat } from '@whetstone/core/contract';
import type { EngineTensor } from '../engines/engine.js';
import type { HostOperand, Kernel, Parameters } from '../kernels/kernel.js';
import { bytesPerElement, isDeviceType, sizeOf, type PhysicalType } from './types.js';

/** One recorded operation. */
export interface RecordedNode {
  readonly kernel: Kernel;
  /** Number of the kernel, and of its parameters, in the tables of the recorder: the structure's letters. */
  readonly kernelId: number;
  readonly parameterId: number;
  readonly parameters: Parameters;
  readonly inputs: readonly Value[];
  /** Interned host operands. */
  readonly host: readonly number[];
  readonly outputs: readonly Value[];
  /** Position among the needed nodes of a cut, -1 while unknown. */
  position: number;
  /** Number of its first result among the results of the needed nodes. */
  firstOutput: number;
  needed: boolean;
}

/**
 * What a packed value consists of: ordinary values on the device, and how the operation that unpacks them is recorded.
 */
export interface StoredParts {
  readonly format: Exclude<StorageFormat, 'float32'>;
  readonly parts: readonly Value[];
  /** What the codes stand for: one value for all tensors of a format. */
  readonly tables: readonly Value[];
  readonly parameters: Parameters;
  readonly host: readonly HostOperand[];
  /** What they are unpacked as where they are multiplied. */
  readonly multipliedAs: 'float32' | 'bfloat16';
}

/** What tfjs-core keeps of the data of a tensor: backend, dtype, shape and bytes. */
export type TensorInfoEntry = NonNullable<ReturnType<ReturnType<typeof engine>['state']['tensorInfo']['get']>>;

/**
 * What a tfjs dataId of this backend is: a value that is on the device, on the host, or still to be computed.
 * Exactly one of `tensor`, `host`, `node` and `stored` holds it, unless `failure` says why none does.
 */
export class Value {
  /** tfjs tensors that share this value; -1 for values the recorder keeps for itself (reshaped views). */
  references = 1;
  /** Operation that will compute it. */
  node: RecordedNode | null = null;
  /** Which result of `node` it is. */
  outputIndex = 0;
  tensor: EngineTensor | null = null;
  /** Small or host-only values as they were written. */
  host: BackendValues | null = null;
  /** Parts of a complex64 value. */
  complex: { readonly real: TensorInfo; readonly imag: TensorInfo } | null = null;
  /** Packed float32 numbers: operations that use them unpack them in their own graph. */
  stored: StoredParts | null = null;
  failure: Error | null = null;
  /** What tfjs-core knows of it, see `keepInfoInValues`. */
  info: TensorInfoEntry | null = null;
  /** Interned content of a small host value, valid in one generation of the table. */
  hostId = -1;
  hostGeneration = -1;
  /** Serial number of the recording that last used it as an operand. */
  usedBy = -1;
  /** Position among the inputs of the graph that is being cut; valid where `cut` is that graph's serial number. */
  slot = -1;
  cut = -1;
  /** Kind of the recording of which a read left it out (see PassingValues); -1 where none did. */
  leftOut = -1;
  /** The same numbers under other shapes, recorded in recording `viewsOf`. */
  views: Value[] | null = null;
  viewsOf = -1;
  readonly type: PhysicalType;
  readonly bytes: number;

  constructor(
    readonly shape: readonly number[],
    readonly dtype: DataType,
    physical?: PhysicalType,
  ) {
    this.type = physical ?? (isDeviceType(dtype) ? dtype : 'float32');
    this.bytes = isDeviceType(dtype) ? sizeOf(shape) * bytesPerElement[this.type] : 0;
  }

  get size(): number {
    return sizeOf(this.shape);
  }

  get disposed(): boolean {
    return this.references === 0;
  }
}
