import type { BackendValues, DataType, TensorInfo } from '@tensorflow/tfjs-core';
import type { EngineTensor } from '../engines/engine.js';
import type { RecordedNode } from './graph.js';
import type { StoredParts } from './stored.js';
import type { TensorInfoEntry } from './tensor-info.js';
import { bytesPerElement, isDeviceType, sizeOf, type PhysicalType } from './types.js';

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
