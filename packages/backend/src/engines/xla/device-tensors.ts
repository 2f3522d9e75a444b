import { WhetstoneError } from '@whetstone/core/contract';
import type { DeviceArray, StorageDtype, TypedArray } from '../../recorder/types.js';
import type { EngineTensor } from '../engine.js';
import type { XlaClient } from './client.js';
import type { Pointer } from './pjrt.js';

/** Up to this many numbers the host keeps a copy, because they may turn out to be a shape. */
const MOST_KEPT = 4096;

/** A tensor of the engine's: on some of the devices, on the host, or still to be made by work that is queued. */
export interface DeviceTensor {
  readonly type: StorageDtype;
  readonly shape: readonly number[];
  readonly values: TypedArray | null;
  /** Type and shape as one number, and the content as another once somebody asked. */
  readonly signature: number;
  content: number;
  /** One a device; null where it is not. */
  readonly buffers: (Pointer | null)[];
  /** Queued work that will make it. */
  maker: object | null;
  failure: Error | null;
  /** How many queued pieces of work and reads still need it. */
  uses: number;
  released: boolean;
}

/** Numbers for strings, given out in order. */
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

  at(handle: EngineTensor): DeviceTensor {
    const tensor = this.tensors.get(handle);
    if (tensor === undefined)
      throw new WhetstoneError('INTERNAL', 'A tensor of the xla engine was used after it was freed.');
    return tensor;
  }

  /** Host values as a tensor. Small ones go to a device when somebody computes with them: shapes never do. */
  upload(type: StorageDtype, shape: readonly number[], values: DeviceArray, device: number): EngineTensor {
    // Packed weights are no shapes.
    const small =
      values.length <= MOST_KEPT && (values instanceof Float32Array || values instanceof Int32Array || type === 'bool');
    const tensor = this.empty(type, shape, small ? (values.slice() as TypedArray) : null);
    if (!small) tensor.buffers[device] = this.client.upload(type, shape, values, device);
    return this.keep(tensor);
  }

  /** Bytes as they are as a tensor. */
  uploadBytes(type: StorageDtype, shape: readonly number[], bytes: Uint8Array, device: number): EngineTensor {
    const tensor = this.empty(type, shape);
    tensor.buffers[device] = this.client.uploadBytes(type, shape, bytes, device);
    return this.keep(tensor);
  }

  /** A tensor that is still to be made. */
  empty(type: StorageDtype, shape: readonly number[], values: TypedArray | null = null): DeviceTensor {
    const buffers = Array.from({ length: this.devices }, () => null);
    return {
      type,
      shape,
      values,
      signature: this.numbering.of(`${type}[${shape.join()}]`),
      content: -1,
      buffers,
      maker: null,
      failure: null,
      uses: 0,
      released: false,
    };
  }

  keep(tensor: DeviceTensor): EngineTensor {
    const handle = this.handles++;
    this.tensors.set(handle, tensor);
    return handle;
  }

  /** The tensor's buffer on a device: the one there is, or a copy made now and kept. */
  bufferOn(tensor: DeviceTensor, device: number): Pointer {
    const known = tensor.buffers[device];
    if (known !== null && known !== undefined) return known;
    const other = tensor.buffers.find((buffer) => buffer !== null);
    const made =
      other === undefined || other === null
        ? this.client.upload(tensor.type, tensor.shape, tensor.values ?? new Uint8Array(0), device)
        : this.client.copyTo(other, device);
    tensor.buffers[device] = made;
    return made;
  }

  /** Any buffer of the tensor's, for a read. */
  anyBuffer(tensor: DeviceTensor): Pointer {
    return tensor.buffers.find((buffer) => buffer !== null) ?? this.bufferOn(tensor, 0);
  }

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
    this.freeIfDone(tensor);
  }

  /** One piece of work fewer needs the tensor. */
  used(tensor: DeviceTensor): void {
    tensor.uses--;
    this.freeIfDone(tensor);
  }

  /** Frees the buffers of a tensor that was released, unless something queued still needs or makes it. */
  freeIfDone(tensor: DeviceTensor): void {
    if (!tensor.released || tensor.uses > 0 || tensor.maker !== null) return;
    tensor.buffers.forEach((buffer, device) => {
      if (buffer !== null) this.client.release(buffer);
      tensor.buffers[device] = null;
    });
  }

  dispose(): void {
    for (const handle of this.tensors.keys()) this.release(handle);
  }
}
