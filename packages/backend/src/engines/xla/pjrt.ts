import { existsSync } from 'node:fs';
import { isWhetstoneError, WhetstoneError, type ErrorCode } from '@whetstone/core/contract';
import koffi from 'koffi';
import { libraryFileProblem } from '../library-file.js';
import { gigabytes, isOutOfMemory, memoryHint, requestedBytes } from '../out-of-memory.js';
import { pin, withoutStderr } from '../native-library.js';
import { companionLibraries, xlaFlags } from './options.js';
import { printErrorsOnly, setXlaFlags } from '../../tfjs-patches/environment.js';
import { messageOf, toError } from '@whetstone/core/util';

/** Address of an object of the plugin. 0n is null. */
export type Pointer = bigint;

type Native = ((parameters: Pointer) => Pointer) & {
  async(parameters: Pointer, done: (error: unknown, result: Pointer) => void): void;
};

/**
 * Functions of the PJRT C API: index in its function table, and number of fields. Releases only append to the table.
 * The only parameter of a function is a struct of 8-byte fields. It begins with its size and a null pointer, which the
 * number does not count.
 */
const functions = {
  PJRT_Error_Destroy: [0, 1],
  PJRT_Error_Message: [1, 3],
  PJRT_Error_GetCode: [2, 2],
  PJRT_Plugin_Initialize: [3, 0],
  PJRT_Plugin_Attributes: [4, 2],
  PJRT_Event_Destroy: [5, 1],
  PJRT_Event_IsReady: [6, 2],
  PJRT_Event_Error: [7, 1],
  PJRT_Event_Await: [8, 1],
  PJRT_Client_Create: [10, 9],
  PJRT_Client_Destroy: [11, 1],
  PJRT_Client_PlatformName: [12, 3],
  PJRT_Client_PlatformVersion: [14, 3],
  PJRT_Client_AddressableDevices: [16, 3],
  PJRT_Client_Compile: [20, 5],
  PJRT_Client_BufferFromHostBuffer: [22, 13],
  PJRT_DeviceDescription_Attributes: [25, 3],
  PJRT_DeviceDescription_Kind: [26, 3],
  PJRT_Device_GetDescription: [29, 2],
  PJRT_Device_MemoryStats: [34, 22],
  PJRT_Executable_Destroy: [40, 1],
  PJRT_Executable_NumOutputs: [44, 2],
  PJRT_Executable_Serialize: [49, 5],
  PJRT_LoadedExecutable_Destroy: [50, 1],
  PJRT_LoadedExecutable_GetExecutable: [51, 2],
  PJRT_LoadedExecutable_Execute: [55, 8],
  PJRT_Executable_DeserializeAndLoad: [56, 6],
  PJRT_Buffer_Destroy: [58, 1],
  PJRT_Buffer_CopyToDevice: [69, 3],
  PJRT_Buffer_ToHostBuffer: [70, 5],
  PJRT_Buffer_ReadyEvent: [72, 2],
  PJRT_Executable_GetCompiledMemoryStats: [96, 12],
} as const;

export type PjrtFunction = keyof typeof functions;

/** Offset of the function table in words of 8 bytes: after the API struct's size, extensions and version. */
const TABLE = 5;
const utf8 = new TextEncoder();

/** Returns a struct of 8-byte words for native code. It is outside the JavaScript heap, so its address is fixed. */
export function words(values: readonly (Pointer | number)[]): BigUint64Array<ArrayBuffer> {
  const struct = new BigUint64Array(new ArrayBuffer(8 * Math.max(1, values.length)));
  values.forEach((value, position) => (struct[position] = BigInt(value)));
  return struct;
}

export const encodeUtf8 = (text: string): Uint8Array => utf8.encode(text);

/**
 * Returns the address of an array's first byte. The caller must keep the array alive. Accessing the buffer moves a
 * small typed array off the JavaScript heap, where the garbage collector could move it.
 */
export function address(array: ArrayBufferView): Pointer {
  return koffi.address(array.buffer) + BigInt(array.byteOffset);
}

/** Decodes a string of the plugin, which has no final zero. */
export const textAt = (pointer: Pointer, length: Pointer): string =>
  pointer === 0n || length === 0n ? '' : Buffer.from(koffi.view(pointer, Number(length))).toString('utf8');

const unavailable = (message: string, cause?: unknown): WhetstoneError =>
  new WhetstoneError('BACKEND_UNAVAILABLE', message, {
    hint: 'Fetch the plugin for CPUs with: npx @whetstone/backend install xla-cpu',
    cause,
  });

/** Returns the error of a failed call: `OUT_OF_MEMORY` or `BACKEND_FAILED`. `subject` begins the message. */
export function failure(code: number, text: string, subject: string): WhetstoneError {
  const errorCode: ErrorCode = isOutOfMemory(code, text) ? 'OUT_OF_MEMORY' : 'BACKEND_FAILED';
  const [firstLine = ''] = text.split('\n');
  const bytes = errorCode === 'OUT_OF_MEMORY' ? requestedBytes(text) : null;
  return new WhetstoneError(
    errorCode,
    `${subject} failed in XLA: ${bytes === null ? '' : `${gigabytes(bytes)} more were needed. `}${firstLine}`,
    {
      ...(errorCode === 'OUT_OF_MEMORY' ? { hint: memoryHint } : {}),
      details: { ...(bytes === null ? {} : { bytes }), xlaCode: code, xlaMessage: text },
    },
  );
}

/** A loaded PJRT plugin. */
export class Pjrt {
  private readonly calls = new Map<PjrtFunction, Native>();
  /** Arrays that native code may read during the current call, so that they are not collected. */
  retained: readonly unknown[] = [];

  constructor(
    readonly path: string,
    /** Version of the API, such as `0.81`. */
    readonly version: string,
    private readonly table: BigUint64Array,
  ) {}

  /**
   * Calls a function. Returns the fields of its struct after the call.
   *
   * @param fields of the struct, without size and extension
   * @param subject begins the message of an error
   * @param keep arrays to which fields point
   * @throws the plugin's error
   */
  call(
    name: PjrtFunction,
    fields: readonly (Pointer | number)[],
    subject = 'A call of XLA',
    ...keep: readonly unknown[]
  ): BigUint64Array {
    const parameters = this.parameters(name, fields);
    this.retained = keep;
    const error = this.native(name)(address(parameters));
    this.retained = [];
    if (error !== 0n && error !== null) throw this.failureOf(error, subject);
    return parameters.subarray(2);
  }

  /** Like `call`, on another thread. */
  callLater(
    name: PjrtFunction,
    fields: readonly (Pointer | number)[],
    subject = 'A call of XLA',
    ...keep: readonly unknown[]
  ): Promise<BigUint64Array> {
    const parameters = this.parameters(name, fields);
    return new Promise((resolve, reject) => {
      this.native(name).async(address(parameters), (problem, error) => {
        void keep.length;
        if (problem !== null && problem !== undefined) reject(toError(problem));
        else if (error !== 0n && error !== null) reject(this.failureOf(error, subject));
        else resolve(parameters.subarray(2));
      });
    });
  }

  /** Converts an error of the plugin and frees it. */
  private failureOf(error: Pointer, subject: string): WhetstoneError {
    const message = this.read('PJRT_Error_Message', [error, 0n, 0n]);
    const text = textAt(message[1] ?? 0n, message[2] ?? 0n);
    const code = Number((this.read('PJRT_Error_GetCode', [error, 0n])[1] ?? 0n) & 0xffffffffn);
    this.read('PJRT_Error_Destroy', [error]);
    return failure(code, text, subject);
  }

  private read(name: PjrtFunction, fields: readonly Pointer[]): BigUint64Array {
    const parameters = this.parameters(name, fields);
    this.native(name)(address(parameters));
    return parameters.subarray(2);
  }

  private parameters(name: PjrtFunction, fields: readonly (Pointer | number)[]): BigUint64Array<ArrayBuffer> {
    const [, count] = functions[name];
    if (fields.length > count)
      throw new WhetstoneError('INTERNAL', `${name} has ${count} fields, but ${fields.length} were passed.`);
    const parameters = new BigUint64Array(new ArrayBuffer(8 * (2 + count)));
    parameters[0] = BigInt(parameters.byteLength);
    fields.forEach((field, position) => (parameters[2 + position] = BigInt(field)));
    return parameters;
  }

  private native(name: PjrtFunction): Native {
    const known = this.calls.get(name);
    if (known !== undefined) return known;
    const pointer = this.table[functions[name][0]] ?? 0n;
    if (pointer === 0n) throw unavailable(`The plugin ${this.path} lacks ${name}.`);
    const native = koffi.decode(pointer, prototype) as Native;
    this.calls.set(name, native);
    return native;
  }
}

/** Loads an optional library. The plugin itself reports a library that it needs. */
function pinIfPossible(path: string): void {
  try {
    pin(path, 'local');
  } catch {
    // The plugin cannot load it either.
  }
}

const prototype = koffi.proto('void *', ['void *']);
const loaded = new Map<string, Pjrt>();

/**
 * Loads a PJRT plugin: a shared library that exports `GetPjrtApi`. A process loads a file once.
 *
 * @throws `BACKEND_UNAVAILABLE` with the reason
 */
export function loadPjrt(path: string): Pjrt {
  const known = loaded.get(path);
  if (known !== undefined) return known;
  if (!existsSync(path)) throw unavailable(`XLA plugin not found: ${path}.`);
  const problem = libraryFileProblem(path);
  if (problem !== null) throw unavailable(`The XLA plugin ${path} cannot be loaded: ${problem}.`);
  printErrorsOnly();
  const flags = xlaFlags(path, process.env);
  if (flags !== null) setXlaFlags(flags);
  try {
    for (const companion of companionLibraries(path)) pinIfPossible(companion);
    withoutStderr(() => pin(path, 'local'));
    const api = koffi.load(path, { lazy: true }).func('void *GetPjrtApi()')() as Pointer;
    if (!api) throw unavailable(`GetPjrtApi of the plugin ${path} returned no API.`);
    const head = new BigUint64Array(koffi.view(api, 8 * TABLE));
    const size = Number(head[0] ?? 0n);
    const version = new Int32Array(head.buffer, 4 * 8, 2);
    const [major = 0, minor = 0] = version;
    if (major !== 0 || size < 8 * (TABLE + 73))
      throw unavailable(`The plugin ${path} has version ${major}.${minor} of PJRT, which is not supported.`);
    const table = new BigUint64Array(koffi.view(api, size)).slice(TABLE);
    const pjrt = new Pjrt(path, `${major}.${minor}`, table);
    withoutStderr(() => pjrt.call('PJRT_Plugin_Initialize', [], `Initialising ${path}`));
    loaded.set(path, pjrt);
    return pjrt;
  } catch (cause) {
    if (isWhetstoneError(cause) && cause.code === 'BACKEND_UNAVAILABLE') throw cause;
    throw unavailable(`The XLA plugin ${path} cannot be loaded: ${messageOf(cause)}`, cause);
  }
}
