import { WhetstoneError } from '@whetstone/core/contract';
import koffi from 'koffi';
import { bytesPerElement, sizeOf, type DeviceArray, type PhysicalType, type TypedArray } from '../../recorder/types.js';
import { narrow, typedArray } from '../bytes.js';
import { compileOptions, type CompileChoice } from './compile-options.js';
import { address, bytesOf, textAt, words, type Pjrt, type Pointer } from './pjrt.js';

/** Options of a plugin's client: `{allocator: 'bfc', preallocate: false}` for a GPU. */
export type ClientOptions = Readonly<Record<string, string | number | boolean>>;

/** PJRT_Buffer_Type of each physical dtype. */
const bufferType: Readonly<Record<PhysicalType, number>> = { float32: 11, int32: 4, bool: 1, bfloat16: 13, uint8: 6, int8: 2 };

/** What has to be waited for and destroyed. */
type Event = Pointer;

/** PJRT_HostBufferSemantics: the plugin copies before the call returns. */
const COPIED_DURING_CALL = 0;

/** `PJRT_NamedValue`s: whole numbers as int64, others as float. */
function namedValues(options: ClientOptions): { readonly values: BigUint64Array; readonly count: number; readonly keep: readonly unknown[] } {
  const keep: unknown[] = [];
  const pointerTo = (bytes: Uint8Array): Pointer => {
    keep.push(bytes);
    return address(bytes);
  };
  const entries = Object.entries(options);
  const fields = entries.flatMap(([name, value]): (Pointer | number)[] => {
    const spelled = bytesOf(name);
    const head = [56, 0, pointerTo(spelled), spelled.length];
    if (typeof value === 'boolean') return [...head, 4, value ? 1 : 0, 1];
    if (typeof value === 'string') {
      const text = bytesOf(value);
      return [...head, 0, pointerTo(text), text.length];
    }
    if (Number.isInteger(value)) return [...head, 1, BigInt.asUintN(64, BigInt(value)), 1];
    return [...head, 3, new Uint32Array(Float32Array.of(value).buffer)[0] ?? 0, 1];
  });
  return { values: words(fields), count: entries.length, keep };
}

/** A compiled module on the device. */
export interface LoadedExecutable {
  readonly pointer: Pointer;
  readonly outputs: number;
}

/** One client of a plugin, on its first device. */
export class XlaClient {
  readonly platform: string;
  readonly platformVersion: string;
  readonly deviceKind: string;
  readonly deviceCount: number;
  private readonly client: Pointer;
  private readonly device: Pointer;
  /** Executions that may still be at work. */
  private running: Event[] = [];

  constructor(
    readonly pjrt: Pjrt,
    options: ClientOptions,
  ) {
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
    if (this.deviceCount === 0) throw new WhetstoneError('BACKEND_UNAVAILABLE', `The XLA plugin for ${this.platform} found no device.`);
    this.device = new BigUint64Array(koffi.view(devices, 8))[0] ?? 0n;
    const description = pjrt.call('PJRT_Device_GetDescription', [this.device])[1] ?? 0n;
    const [, kind = 0n, kindLength = 0n] = pjrt.call('PJRT_DeviceDescription_Kind', [description]);
    this.deviceKind = textAt(kind, kindLength);
  }

  /** Copies host values to the device. */
  upload(type: PhysicalType, shape: readonly number[], values: DeviceArray): Pointer {
    const source = type === 'bfloat16' && values instanceof Float32Array ? narrow(values) : values;
    const length = sizeOf(shape) * bytesPerElement[type];
    if (source.byteLength !== length) throw new WhetstoneError('INTERNAL', `A tensor of shape [${shape.join(', ')}] needs ${length} bytes, but ${source.byteLength} were given.`);
    return this.uploadBytes(type, shape, new Uint8Array(source.buffer, source.byteOffset, length));
  }

  /** Copies bytes to the device as they are. */
  uploadBytes(type: PhysicalType, shape: readonly number[], bytes: Uint8Array): Pointer {
    const given = bytes.length === 0 ? new Uint8Array(8) : bytes;
    const dimensions = words(shape);
    const fields = [this.client, address(given), bufferType[type], address(dimensions), shape.length, 0, 0, COPIED_DURING_CALL, this.device];
    const result = this.pjrt.call('PJRT_Client_BufferFromHostBuffer', fields, `Uploading ${type} [${shape.join(', ')}]`, given, dimensions);
    const [done = 0n, buffer = 0n] = result.subarray(11);
    this.finish(done);
    return buffer;
  }

  /** Waits for a buffer and copies it to the host. */
  download(buffer: Pointer, type: PhysicalType, size: number): TypedArray {
    const { bytes, event } = this.startDownload(buffer, type, size);
    if (event !== 0n) this.finish(event);
    return typedArray(type, bytes);
  }

  /** The same on another thread. */
  async downloadLater(buffer: Pointer, type: PhysicalType, size: number): Promise<TypedArray> {
    const { bytes, event } = this.startDownload(buffer, type, size);
    if (event !== 0n) await this.finishLater(event);
    return typedArray(type, bytes);
  }

  /** Frees a buffer; what still computes with it holds it. */
  release(buffer: Pointer): void {
    this.pjrt.call('PJRT_Buffer_Destroy', [buffer]);
  }

  /** Compiles a module of StableHLO text. */
  compile(module: string, subject: string, choice: CompileChoice = {}): LoadedExecutable {
    const code = bytesOf(module);
    const options = compileOptions(this.platform, choice);
    const format = bytesOf('mlir');
    const program = words([48, 0, address(code), code.length, address(format), format.length]);
    const result = this.pjrt.call('PJRT_Client_Compile', [this.client, address(program), address(options), options.length], subject, program, code, format, options);
    return this.adopt(result[4] ?? 0n);
  }

  /** A compiled module as bytes that {@link deserialize} of the same plugin on the same kind of device takes. */
  serialize(executable: LoadedExecutable): Uint8Array<ArrayBuffer> {
    const inner = this.pjrt.call('PJRT_LoadedExecutable_GetExecutable', [executable.pointer])[1] ?? 0n;
    try {
      const [, bytes = 0n, length = 0n, holder = 0n, deleter = 0n] = this.pjrt.call('PJRT_Executable_Serialize', [inner], 'Serialising a module');
      const copy = new Uint8Array(Number(length));
      copy.set(new Uint8Array(koffi.view(bytes, Number(length))));
      if (deleter !== 0n) (koffi.decode(deleter, deleterPrototype) as (pointer: Pointer) => void)(holder);
      return copy;
    } finally {
      this.pjrt.call('PJRT_Executable_Destroy', [inner]);
    }
  }

  deserialize(bytes: Uint8Array): LoadedExecutable {
    return this.adopt(this.pjrt.call('PJRT_Executable_DeserializeAndLoad', [this.client, address(bytes), bytes.length], 'Loading a module', bytes)[3] ?? 0n);
  }

  /** Queues an executable. Inputs whose numbers are in `kept` are not donated. */
  execute(executable: LoadedExecutable, inputs: readonly Pointer[], kept: readonly number[], subject: string): Pointer[] {
    const list = words(inputs);
    const lists = words([address(list)]);
    const results = words(Array.from({ length: executable.outputs }, () => 0n));
    const resultLists = words([address(results)]);
    const events = words([0n]);
    const vetoes = words(kept);
    const options = words([112, 0, 0, 0, 0, 0, 0, kept.length === 0 ? 0n : address(vetoes), kept.length, 0, 0, 0, 0, 0]);
    const fields = [executable.pointer, address(options), address(lists), 1, inputs.length, address(resultLists), address(events)];
    this.pjrt.call('PJRT_LoadedExecutable_Execute', fields, subject, list, lists, results, resultLists, events, options, vetoes);
    this.running = this.running.filter((event) => !this.discardIfReady(event));
    this.running.push(events[0] ?? 0n);
    return Array.from(results.subarray(0, executable.outputs));
  }

  /** Waits until everything queued is done. Failures are told where results are read. */
  wait(): void {
    for (const event of this.running.splice(0)) this.finish(event, true);
  }

  async waitLater(): Promise<void> {
    await Promise.all(this.running.splice(0).map((event) => this.finishLater(event)));
  }

  dispose(executable: LoadedExecutable): void {
    this.pjrt.call('PJRT_LoadedExecutable_Destroy', [executable.pointer]);
  }

  private adopt(pointer: Pointer): LoadedExecutable {
    const inner = this.pjrt.call('PJRT_LoadedExecutable_GetExecutable', [pointer])[1] ?? 0n;
    const outputs = Number(this.pjrt.call('PJRT_Executable_NumOutputs', [inner])[1] ?? 0n);
    this.pjrt.call('PJRT_Executable_Destroy', [inner]);
    return { pointer, outputs };
  }

  private startDownload(buffer: Pointer, type: PhysicalType, size: number): { readonly bytes: Uint8Array<ArrayBuffer>; readonly event: Event } {
    const bytes = new Uint8Array(new ArrayBuffer(size * bytesPerElement[type]));
    if (bytes.length === 0) return { bytes, event: 0n };
    const result = this.pjrt.call('PJRT_Buffer_ToHostBuffer', [buffer, 0, address(bytes), bytes.length], 'Reading a result', bytes);
    return { bytes, event: result[4] ?? 0n };
  }

  private finish(event: Event, quietly = false): void {
    try {
      this.pjrt.call('PJRT_Event_Await', [event], 'An operation');
    } catch (error) {
      if (!quietly) throw error;
    } finally {
      this.pjrt.call('PJRT_Event_Destroy', [event]);
    }
  }

  private async finishLater(event: Event): Promise<void> {
    try {
      await this.pjrt.callLater('PJRT_Event_Await', [event], 'An operation');
    } finally {
      this.pjrt.call('PJRT_Event_Destroy', [event]);
    }
  }

  private discardIfReady(event: Event): boolean {
    const ready = ((this.pjrt.call('PJRT_Event_IsReady', [event])[1] ?? 0n) & 1n) === 1n;
    if (ready) this.pjrt.call('PJRT_Event_Destroy', [event]);
    return ready;
  }
}

const deleterPrototype = koffi.proto('void', ['void *']);
