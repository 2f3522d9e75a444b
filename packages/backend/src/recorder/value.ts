import type { BackendValues, DataType, engine, TensorInfo } from '@tensorflow/tfjs-core';
import type { StorageFormat } from '@whetstone/core/contract';
import { sizeOfShape } from '@whetstone/core/util';
import type { EngineTensor } from '../engines/engine.js';
import type { HostOperand, Kernel, Parameters } from '../kernels/kernel.js';
import { bytesPerElement, isDeviceType, type StorageDtype } from './types.js';

/** One recorded operation. */
export interface RecordedNode {
  readonly kernel: Kernel;
  /** Numbers of the kernel and of its parameters, which encode the node in a graph's structure. */
  readonly kernelId: number;
  readonly parameterId: number;
  readonly parameters: Parameters;
  readonly inputs: readonly Value[];
  /** Ids of host operands. */
  readonly host: readonly number[];
  readonly outputs: readonly Value[];
  /** Position among the needed nodes of a graph; −1 while unknown. */
  position: number;
  /** Number of the first result among the results of the needed nodes. */
  firstOutput: number;
  needed: boolean;
}

/** The components of a packed value on the device, and what the operation that unpacks them needs. */
export interface PackedComponents {
  readonly format: Exclude<StorageFormat, 'float32'>;
  readonly components: readonly Value[];
  /** Code tables, shared by all tensors of a format. */
  readonly tables: readonly Value[];
  readonly parameters: Parameters;
  readonly host: readonly HostOperand[];
  /** Dtype to which the numbers are unpacked as operands of matrix products. */
  readonly productDtype: 'float32' | 'bfloat16';
}

/** tfjs-core's record of a tensor's data: backend, dtype, shape and bytes. */
export type TensorInfoEntry = NonNullable<ReturnType<ReturnType<typeof engine>['state']['tensorInfo']['get']>>;

/**
 * A dataId of this backend: a value that is on the device, on the host, or still to be computed. Exactly one of
 * `tensor`, `host`, `node`, `packed` and `complex` holds it, unless `failure` is set.
 */
export class Value {
  /** tfjs-core tensors that share this value. The recorder's own views have none. */
  references = 1;
  /** The operation that will compute the value. */
  node: RecordedNode | null = null;
  /** Index among the results of `node`. */
  outputIndex = 0;
  tensor: EngineTensor | null = null;
  /** Scalars, and dtypes that are never on the device. */
  host: BackendValues | null = null;
  /** Real and imaginary component of a complex64 value. */
  complex: { readonly real: TensorInfo; readonly imag: TensorInfo } | null = null;
  /** Packed float32 numbers. Each graph that uses them unpacks them. */
  packed: PackedComponents | null = null;
  /** The error of the graph that should have computed the value. */
  failure: Error | null = null;
  /** tfjs-core's record of the data: see `storeTensorInfoInValues`. */
  tensorInfo: TensorInfoEntry | null = null;
  /** Id of a host value's content, valid in one generation of the host operands. */
  hostId = -1;
  hostGeneration = -1;
  /** Serial number of the recording that last used it as an operand. */
  lastUsedIn = -1;
  /** Position among the inputs of the graph with the serial number `graphSerial`. */
  inputIndex = -1;
  graphSerial = -1;
  /** Kind of the recording of which a read deferred the value (see DeferredValues); −1 if none did. */
  deferredKind = -1;
  /** Views under other shapes, created in the recording `viewsSerial`. */
  views: Value[] | null = null;
  viewsSerial = -1;
  readonly storageDtype: StorageDtype;
  readonly bytes: number;

  constructor(
    readonly shape: readonly number[],
    readonly dtype: DataType,
    storageDtype?: StorageDtype,
  ) {
    this.storageDtype = storageDtype ?? (isDeviceType(dtype) ? dtype : 'float32');
    this.bytes = isDeviceType(dtype) ? sizeOfShape(shape) * bytesPerElement[this.storageDtype] : 0;
  }

  get size(): number {
    return sizeOfShape(this.shape);
  }

  get disposed(): boolean {
    return this.references === 0;
  }
}
