import { WhetstoneError } from '@whetstone/core/contract';
import type { DeviceArray, StorageDtype, TypedArray } from '../../recorder/types.js';
import type { EngineTensor } from '../engine.js';
import type { XlaClient } from './client.js';
import type { Pointer } from './pjrt.js';

/** Largest tensor of which the host keeps a copy, in numbers: it may be a shape. */
const MAX_HOST_NUMBERS = 4096;

/** A tensor of the engine: on devices, on the host, or pending in the queue. */
export interface DeviceTensor {
  readonly type: StorageDtype;
  readonly shape: readonly number[];
  readonly values: TypedArray | null;
  /** A number for type and shape. */
  readonly signature: number;
  /** A number for the values; −1 until it is needed. */
  content: number;
  /** One buffer per device; null on devices without the tensor. */
  readonly buffers: (Pointer | null)[];
  /** Queued work that computes it, or null. */
  producer: object | null;
  failure: Error | null;
  /** Number of queued work items and reads that still need it. */
  uses: number;
  released: boolean;
}

/** Assigns consecutive numbers to distinct strings. */
class Numbering {
  private readonly numbers = new Map<string, number>();

  of(text: string): number {
    let number = this.numbers.get(text);
    if (number === undefined) this.numbers.set(text, (number = this.numbers.size));
    return number;
  }
}

/** The engine's tensors by handle, and their buffers on the devices. */
export class DeviceTensors {
  private readonly tensors = new Map<EngineTensor, DeviceTensor>();
  private readonly numbering = new Numbering();
  private handles = 1n;

  constructor(
    private readonly client: XlaClient,
    readonly devices: number,
  ) {}

  /** @throws `INTERNAL` if the tensor was released */
  at(handle: EngineTensor): DeviceTensor {
    const tensor = this.tensors.get(handle);
    if (tensor === undefined)
      throw new WhetstoneError('INTERNAL', 'A tensor of the xla engine was used after it was released.');
    return tensor;
  }

  /** Creates a tensor of host values. Small ones are copied to a device when they are first used: shapes never are. */
  upload(type: StorageDtype, shape: readonly number[], values: DeviceArray, device: number): EngineTensor {
    // Packed weights are never shapes.
    const small =
      values.length <= MAX_HOST_NUMBERS &&
      (values instanceof Float32Array || values instanceof Int32Array || type === 'bool');
    const tensor = this.empty(type, shape, small ? (values.slice() as TypedArray) : null);
    if (!small) tensor.buffers[device] = this.client.upload(type, shape, values, device);
    return this.add(tensor);
  }

  /** Creates a tensor of bytes in its storage format. */
  uploadBytes(type: StorageDtype, shape: readonly number[], bytes: Uint8Array, device: number): EngineTensor {
    const tensor = this.empty(type, shape);
    tensor.buffers[device] = this.client.uploadBytes(type, shape, bytes, device);
    return this.add(tensor);
  }

  /** Returns a tensor without buffers. */
  empty(type: StorageDtype, shape: readonly number[], values: TypedArray | null = null): DeviceTensor {
    const buffers = Array.from({ length: this.devices }, () => null);
    return {
      type,
      shape,
      values,
      signature: this.numbering.of(`${type}[${shape.join()}]`),
      content: -1,
      buffers,
      producer: null,
      failure: null,
      uses: 0,
      released: false,
    };
  }

  /** Registers a tensor and returns its handle. */
  add(tensor: DeviceTensor): EngineTensor {
    const handle = this.handles++;
    this.tensors.set(handle, tensor);
    return handle;
  }

  /** Returns the tensor's buffer on a device. If it has none there, it is copied first. */
  bufferOn(tensor: DeviceTensor, device: number): Pointer {
    const known = tensor.buffers[device];
    if (known !== null && known !== undefined) return known;
    const other = tensor.buffers.find((buffer) => buffer !== null);
    const buffer =
      other === undefined || other === null
        ? this.client.upload(tensor.type, tensor.shape, tensor.values ?? new Uint8Array(0), device)
        : this.client.copyTo(other, device);
    tensor.buffers[device] = buffer;
    return buffer;
  }

  /** Returns a buffer of the tensor on any device, for a read. */
  anyBuffer(tensor: DeviceTensor): Pointer {
    return tensor.buffers.find((buffer) => buffer !== null) ?? this.bufferOn(tensor, 0);
  }

  /** Returns a number for the tensor's values. Tensors without host values share one. */
  contentOf(tensor: DeviceTensor): number {
    if (tensor.content < 0)
      tensor.content = this.numbering.of(`=${tensor.values === null ? '?' : tensor.values.join()}`);
    return tensor.content;
  }

  release(handle: EngineTensor): void {
    const tensor = this.tensors.get(handle);
    if (tensor === undefined) return;
    this.tensors.delete(handle);
    tensor.released = true;
    this.freeIfUnused(tensor);
  }

  /** Unregisters a user of the tensor. */
  endUse(tensor: DeviceTensor): void {
    tensor.uses--;
    this.freeIfUnused(tensor);
  }

  /** Frees the buffers of a released tensor, unless queued work still needs or computes it. */
  freeIfUnused(tensor: DeviceTensor): void {
    if (!tensor.released || tensor.uses > 0 || tensor.producer !== null) return;
    tensor.buffers.forEach((buffer, device) => {
      if (buffer !== null) this.client.release(buffer);
      tensor.buffers[device] = null;
    });
  }

  dispose(): void {
    for (const handle of this.tensors.keys()) this.release(handle);
  }
}
