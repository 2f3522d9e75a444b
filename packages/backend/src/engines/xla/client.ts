import { WhetstoneError } from '@whetstone/core/contract';
import koffi from 'koffi';
import { sizeOfShape } from '@whetstone/core/util';
import { bytesPerElement, type DeviceArray, type StorageDtype, type TypedArray } from '../../recorder/types.js';
import { inHostMemory, narrow, typedArray } from '../bytes.js';
import { compileOptions, type CompileChoice } from './compile-options.js';
import { finish, finishLater, type Event } from './events.js';
import { Executions } from './executions.js';
import { namedValues, stringValues } from './named-values.js';
import type { ClientOptions } from './options.js';
import { address, encodeUtf8, textAt, words, type Pjrt, type Pointer } from './pjrt.js';

/** PJRT_Buffer_Type of each storage dtype. */
const bufferType: Readonly<Record<StorageDtype, number>> = {
  float32: 11,
  int32: 4,
  bool: 1,
  bfloat16: 13,
  uint8: 6,
  int8: 2,
};

/** PJRT_HostBufferSemantics: the plugin copies before the call returns. */
const COPIED_DURING_CALL = 0;

/**
 * Returns a row-major `PJRT_Buffer_MemoryLayout` without tiles, as the host stores tensors: a struct of 76 bytes, of
 * which the tiled layout takes 56.
 */
function rowMajor(rank: number): { readonly layout: BigUint64Array; readonly minorToMajor: BigUint64Array } {
  const minorToMajor = words(Array.from({ length: rank }, (_, axis) => rank - 1 - axis));
  return { layout: words([76, 0, 56, 0, address(minorToMajor), rank, 0, 0, 0, 0]), minorToMajor };
}

/** A compiled module on the device. */
export interface LoadedExecutable {
  readonly pointer: Pointer;
  readonly outputs: number;
}

/** Bytes that a module needs in addition to its arguments. */
export interface ModuleMemory {
  readonly outputs: number;
  readonly temporaries: number;
}

/**
 * The arguments whose memory a module was compiled to reuse, by position: those that are not donated, and those that
 * are.
 */
export interface Donation {
  readonly retained?: readonly number[];
  readonly donated?: readonly number[];
}

/** A client of a plugin, with the devices of this process. */
export class XlaClient {
  readonly platform: string;
  readonly platformVersion: string;
  readonly deviceKind: string;
  /** String attributes of the first device, such as `compute_capability` of a CUDA device. */
  readonly deviceAttributes: ReadonlyMap<string, string>;
  readonly deviceCount: number;
  private readonly client: Pointer;
  private readonly devices: readonly Pointer[];
  private readonly executions: Executions;

  constructor(
    readonly pjrt: Pjrt,
    options: ClientOptions,
    /** Minimum number of devices. */
    minDevices = 1,
  ) {
    this.executions = new Executions(pjrt, (buffer) => this.release(buffer));
    const { values, count, keep } = namedValues(options);
    this.client = pjrt.call('PJRT_Client_Create', [address(values), count], 'Starting a client', values, keep)[6] ?? 0n;
    const text = (name: 'PJRT_Client_PlatformName' | 'PJRT_Client_PlatformVersion'): string => {
      const [, pointer = 0n, length = 0n] = pjrt.call(name, [this.client]);
      return textAt(pointer, length);
    };
    this.platform = text('PJRT_Client_PlatformName');
    this.platformVersion = text('PJRT_Client_PlatformVersion');
    const [, devices = 0n, deviceCount = 0n] = pjrt.call('PJRT_Client_AddressableDevices', [this.client]);
    this.deviceCount = Number(deviceCount);
    if (this.deviceCount === 0)
      throw new WhetstoneError('BACKEND_UNAVAILABLE', `The XLA plugin for ${this.platform} found no device.`);
    if (this.deviceCount < minDevices)
      throw new WhetstoneError(
        'BACKEND_UNAVAILABLE',
        `The XLA plugin for ${this.platform} has fewer devices than configured.`,
        { expected: `${minDevices} devices`, found: String(this.deviceCount) },
      );
    this.devices = Array.from(new BigUint64Array(koffi.view(devices, 8 * this.deviceCount)));
    const description = pjrt.call('PJRT_Device_GetDescription', [this.device(0)])[1] ?? 0n;
    const [, kind = 0n, kindLength = 0n] = pjrt.call('PJRT_DeviceDescription_Kind', [description]);
    this.deviceKind = textAt(kind, kindLength);
    const [, attributeCount = 0n, attributes = 0n] = pjrt.call('PJRT_DeviceDescription_Attributes', [description]);
    this.deviceAttributes = stringValues(attributes, Number(attributeCount));
  }

  /** Returns the plugin's limit of device memory; null if it does not report one. */
  memoryBytes(): number | null {
    try {
      const [limit = 0n, isSet = 0n] = this.pjrt.call('PJRT_Device_MemoryStats', [this.devices[0] ?? 0n]).subarray(8);
      return (isSet & 1n) === 1n ? Number(limit) : null;
    } catch {
      // CPU plugins have no limit.
      return null;
    }
  }

  /** Copies host values to a device. */
  upload(type: StorageDtype, shape: readonly number[], values: DeviceArray, device = 0): Pointer {
    const source = type === 'bfloat16' && values instanceof Float32Array ? narrow(values) : values;
    const length = sizeOfShape(shape) * bytesPerElement[type];
    if (source.byteLength !== length)
      throw new WhetstoneError(
        'INTERNAL',
        `A tensor of shape [${shape.join(', ')}] needs ${length} bytes, but ${source.byteLength} were given.`,
      );
    return this.uploadBytes(type, shape, source, device);
  }

  /** Copies bytes to a device without conversion. */
  uploadBytes(type: StorageDtype, shape: readonly number[], bytes: ArrayBufferView, device = 0): Pointer {
    const source = bytes.byteLength === 0 ? new Uint8Array(8) : bytes;
    const dimensions = words(shape);
    const fields = [
      this.client,
      address(source),
      bufferType[type],
      address(dimensions),
      shape.length,
      0,
      0,
      COPIED_DURING_CALL,
      this.device(device),
    ];
    const result = this.pjrt.call(
      'PJRT_Client_BufferFromHostBuffer',
      fields,
      `Uploading ${type} [${shape.join(', ')}]`,
      source,
      dimensions,
    );
    const [done = 0n, buffer = 0n] = result.subarray(11);
    finish(this.pjrt, done);
    return buffer;
  }

  /** Waits for a buffer and copies it to the host in row-major order. */
  download(buffer: Pointer, type: StorageDtype, shape: readonly number[]): TypedArray {
    const { bytes, event } = this.startDownload(buffer, type, shape);
    if (event !== 0n) finish(this.pjrt, event);
    return inHostMemory(type, shape, () => typedArray(type, bytes));
  }

  /** Like `download`, without blocking the event loop. */
  async downloadLater(buffer: Pointer, type: StorageDtype, shape: readonly number[]): Promise<TypedArray> {
    const { bytes, event } = this.startDownload(buffer, type, shape);
    if (event !== 0n) await finishLater(this.pjrt, event);
    return inHostMemory(type, shape, () => typedArray(type, bytes));
  }

  /** Copies a buffer to another device. */
  copyTo(buffer: Pointer, device: number): Pointer {
    return (
      this.pjrt.call(
        'PJRT_Buffer_CopyToDevice',
        [buffer, this.device(device)],
        'Copying a tensor to another device',
      )[2] ?? 0n
    );
  }

  /** Frees a buffer, as soon as no execution uses it. */
  release(buffer: Pointer): void {
    this.pjrt.call('PJRT_Buffer_Destroy', [buffer]);
  }

  /** Compiles a module of StableHLO text. */
  compile(module: string, subject: string, choice: CompileChoice = {}): LoadedExecutable {
    const { fields, keep } = this.compileParameters(module, choice);
    return this.adopt(this.pjrt.call('PJRT_Client_Compile', fields, subject, keep)[4] ?? 0n);
  }

  /** Like `compile`, on another thread. */
  async compileLater(module: string, subject: string, choice: CompileChoice = {}): Promise<LoadedExecutable> {
    const { fields, keep } = this.compileParameters(module, choice);
    return this.adopt((await this.pjrt.callLater('PJRT_Client_Compile', fields, subject, keep))[4] ?? 0n);
  }

  /** Returns a compiled module as bytes. {@link deserialize} needs the same plugin and the same kind of device. */
  serialize(executable: LoadedExecutable): Uint8Array<ArrayBuffer> {
    return this.inner(executable.pointer, (inner) => {
      const [, bytes = 0n, length = 0n, holder = 0n, deleter = 0n] = this.pjrt.call(
        'PJRT_Executable_Serialize',
        [inner],
        'Serializing a module',
      );
      const copy = new Uint8Array(Number(length));
      copy.set(new Uint8Array(koffi.view(bytes, Number(length))));
      if (deleter !== 0n) (koffi.decode(deleter, deleterPrototype) as (pointer: Pointer) => void)(holder);
      return copy;
    });
  }

  deserialize(bytes: Uint8Array): LoadedExecutable {
    return this.adopt(
      this.pjrt.call(
        'PJRT_Executable_DeserializeAndLoad',
        [this.client, address(bytes), bytes.length],
        'Loading a module',
        bytes,
      )[3] ?? 0n,
    );
  }

  /** Like `deserialize`, on another thread. */
  async deserializeLater(bytes: Uint8Array): Promise<LoadedExecutable> {
    return this.adopt(
      (
        await this.pjrt.callLater(
          'PJRT_Executable_DeserializeAndLoad',
          [this.client, address(bytes), bytes.length],
          'Loading a module',
          bytes,
        )
      )[3] ?? 0n,
    );
  }

  /** Returns a module's memory, or null if the plugin does not report it. */
  memoryOf(executable: LoadedExecutable): ModuleMemory | null {
    try {
      const [, , , outputs = 0n, shared = 0n, temporaries = 0n] = this.inner(executable.pointer, (inner) =>
        this.pjrt.call('PJRT_Executable_GetCompiledMemoryStats', [inner]),
      );
      return { outputs: Number(outputs) - Number(shared), temporaries: Number(temporaries) };
    } catch {
      return null;
    }
  }

  /**
   * Queues an executable on `device` or, if it was compiled for replicas, on one device per list of inputs. The handles
   * of donated inputs are released after the execution. Returns a list of results for each list of inputs.
   */
  execute(
    executable: LoadedExecutable,
    inputs: readonly (readonly Pointer[])[],
    { retained = [], donated = [] }: Donation,
    subject: string,
    device: number | null = null,
  ): Pointer[][] {
    const [first = []] = inputs;
    const args = inputs.map((list) => words(list));
    const results = inputs.map(() => words(Array.from({ length: executable.outputs }, () => 0n)));
    const [lists, resultLists] = [words(args.map(address)), words(results.map(address))];
    const events = words(inputs.map(() => 0n));
    const notDonated = words(retained);
    const options = words([
      112,
      0,
      0,
      0,
      0,
      0,
      0,
      retained.length === 0 ? 0n : address(notDonated),
      retained.length,
      0,
      0,
      0,
      0,
      0,
    ]);
    const fields = [
      executable.pointer,
      address(options),
      address(lists),
      inputs.length,
      first.length,
      address(resultLists),
      address(events),
      device === null ? 0n : this.device(device),
    ];
    this.pjrt.call(
      'PJRT_LoadedExecutable_Execute',
      fields,
      subject,
      args,
      lists,
      results,
      resultLists,
      events,
      options,
      notDonated,
    );
    this.executions.add(
      Array.from(events, (event, index) => ({
        event,
        donated: donated.flatMap((position) => inputs[index]?.[position] ?? []),
      })),
    );
    return results.map((list) => Array.from(list.subarray(0, executable.outputs)));
  }

  /** Waits until all executions are done. Errors are thrown when results are read. */
  wait(): void {
    this.executions.wait();
  }

  waitLater(): Promise<void> {
    return this.executions.waitLater();
  }

  /** Returns whether `executions` more can be queued without blocking the caller. */
  hasRoom(executions: number): boolean {
    return this.platform !== 'cpu' || this.executions.hasRoom(executions);
  }

  /** Waits without blocking the event loop until `executions` more can be queued. */
  async roomLater(executions: number): Promise<void> {
    if (this.platform === 'cpu') await this.executions.roomLater(executions);
  }

  dispose(executable: LoadedExecutable): void {
    this.pjrt.call('PJRT_LoadedExecutable_Destroy', [executable.pointer]);
  }

  private device(number: number): Pointer {
    const device = this.devices[number];
    if (device === undefined)
      throw new WhetstoneError('BACKEND_FAILED', `The XLA plugin has no device ${number}.`, {
        expected: `a number below ${this.deviceCount}`,
        found: String(number),
      });
    return device;
  }

  private compileParameters(
    module: string,
    choice: CompileChoice,
  ): { readonly fields: readonly (Pointer | number)[]; readonly keep: readonly unknown[] } {
    const code = encodeUtf8(module);
    const options = compileOptions(this.platform, choice);
    const format = encodeUtf8('mlir');
    const program = words([48, 0, address(code), code.length, address(format), format.length]);
    return {
      fields: [this.client, address(program), address(options), options.length],
      keep: [program, code, format, options],
    };
  }

  /** Calls `work` with the PJRT_Executable of a loaded executable. */
  private inner<R>(pointer: Pointer, work: (inner: Pointer) => R): R {
    const inner = this.pjrt.call('PJRT_LoadedExecutable_GetExecutable', [pointer])[1] ?? 0n;
    try {
      return work(inner);
    } finally {
      this.pjrt.call('PJRT_Executable_Destroy', [inner]);
    }
  }

  private adopt(pointer: Pointer): LoadedExecutable {
    return {
      pointer,
      outputs: Number(this.inner(pointer, (inner) => this.pjrt.call('PJRT_Executable_NumOutputs', [inner]))[1] ?? 0n),
    };
  }

  private startDownload(
    buffer: Pointer,
    type: StorageDtype,
    shape: readonly number[],
  ): { readonly bytes: ArrayBuffer; readonly event: Event } {
    const bytes = inHostMemory(type, shape, (length) => new ArrayBuffer(length));
    if (bytes.byteLength === 0) return { bytes, event: 0n };
    const { layout, minorToMajor } = rowMajor(shape.length);
    const result = this.pjrt.call(
      'PJRT_Buffer_ToHostBuffer',
      [buffer, address(layout), koffi.address(bytes), bytes.byteLength],
      'Reading a result',
      bytes,
      layout,
      minorToMajor,
    );
    return { bytes, event: result[4] ?? 0n };
  }
}

const deleterPrototype = koffi.proto('void', ['void *']);
