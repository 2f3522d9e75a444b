import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { isWhetstoneError, WhetstoneError } from '@whetstone/core/contract';
import koffi, { type LibraryHandle } from 'koffi';
import { libraryFileProblem, missingInstructions } from '../library-file.js';
import { pin, withoutStderr } from '../native-library.js';
import { printErrorsOnly } from '../../tfjs-patches/environment.js';
import { messageOf } from '@whetstone/core/util';

/** Address of an object of TensorFlow. 0n is null. */
export type Pointer = bigint;

type Call<A extends readonly unknown[], R> = ((...parameters: A) => R) & {
  async(...parameters: [...A, (error: unknown, result: R) => void]): void;
};

/** TF_Output, by value. */
export interface OperationOutput {
  readonly oper: Pointer;
  readonly index: number;
}

/** The functions of TensorFlow's C API that the engine uses, bound by koffi. */
export interface TensorflowLibrary {
  readonly version: string;
  readonly TF_NewStatus: Call<[], Pointer>;
  readonly TF_DeleteStatus: Call<[Pointer], void>;
  readonly TF_GetCode: Call<[Pointer], number>;
  readonly TF_Message: Call<[Pointer], string>;
  readonly TF_AllocateTensor: Call<[number, BigInt64Array, number, number], Pointer>;
  readonly TF_TensorData: Call<[Pointer], Pointer>;
  readonly TF_TensorByteSize: Call<[Pointer], number>;
  readonly TF_DeleteTensor: Call<[Pointer], void>;
  readonly TFE_NewContextOptions: Call<[], Pointer>;
  readonly TFE_DeleteContextOptions: Call<[Pointer], void>;
  readonly TFE_ContextOptionsSetConfig: Call<[Pointer, Uint8Array, number, Pointer], void>;
  readonly TFE_ContextOptionsSetAsync: Call<[Pointer, number], void>;
  readonly TFE_NewContext: Call<[Pointer, Pointer], Pointer>;
  readonly TFE_DeleteContext: Call<[Pointer], void>;
  readonly TFE_ContextAsyncWait: Call<[Pointer, Pointer], void>;
  readonly TFE_ContextAddFunction: Call<[Pointer, Pointer, Pointer], void>;
  readonly TFE_ContextRemoveFunction: Call<[Pointer, string, Pointer], void>;
  readonly TFE_ContextGetExecutorForThread: Call<[Pointer], Pointer>;
  readonly TFE_ExecutorClearError: Call<[Pointer], void>;
  readonly TFE_DeleteExecutor: Call<[Pointer], void>;
  readonly TFE_NewTensorHandle: Call<[Pointer, Pointer], Pointer>;
  readonly TFE_DeleteTensorHandle: Call<[Pointer], void>;
  readonly TFE_TensorHandleCopySharingTensor: Call<[Pointer, Pointer], Pointer>;
  readonly TFE_TensorHandleResolve: Call<[Pointer, Pointer], Pointer>;
  readonly TFE_NewOp: Call<[Pointer, string, Pointer], Pointer>;
  readonly TFE_DeleteOp: Call<[Pointer], void>;
  readonly TFE_OpAddInput: Call<[Pointer, Pointer, Pointer], void>;
  readonly TFE_OpAddInputList: Call<[Pointer, BigUint64Array, number, Pointer], void>;
  readonly TFE_OpSetAttrString: Call<[Pointer, string, Uint8Array, number], void>;
  readonly TFE_OpSetAttrInt: Call<[Pointer, string, number], void>;
  readonly TFE_OpSetAttrFloat: Call<[Pointer, string, number], void>;
  readonly TFE_OpSetAttrBool: Call<[Pointer, string, number], void>;
  readonly TFE_OpSetAttrType: Call<[Pointer, string, number], void>;
  readonly TFE_OpSetAttrShape: Call<[Pointer, string, null, number, Pointer], void>;
  readonly TFE_Execute: Call<[Pointer, BigUint64Array, Int32Array, Pointer], void>;
  readonly TF_NewGraph: Call<[], Pointer>;
  readonly TF_DeleteGraph: Call<[Pointer], void>;
  readonly TF_NewOperation: Call<[Pointer, string, string], Pointer>;
  readonly TF_AddInput: Call<[Pointer, OperationOutput], void>;
  readonly TF_AddInputList: Call<[Pointer, BigUint64Array, number], void>;
  readonly TF_AddControlInput: Call<[Pointer, Pointer], void>;
  readonly TF_SetAttrString: Call<[Pointer, string, Uint8Array, number], void>;
  readonly TF_SetAttrInt: Call<[Pointer, string, number], void>;
  readonly TF_SetAttrFloat: Call<[Pointer, string, number], void>;
  readonly TF_SetAttrBool: Call<[Pointer, string, number], void>;
  readonly TF_SetAttrType: Call<[Pointer, string, number], void>;
  readonly TF_SetAttrShape: Call<[Pointer, string, null, number], void>;
  readonly TF_SetAttrTypeList: Call<[Pointer, string, Int32Array, number], void>;
  readonly TF_SetAttrFuncName: Call<[Pointer, string, string, number], void>;
  readonly TF_SetAttrTensor: Call<[Pointer, string, Pointer, Pointer], void>;
  readonly TF_FinishOperation: Call<[Pointer, Pointer], Pointer>;
  readonly TF_GraphToFunction: Call<
    [Pointer, string, number, number, null, number, BigUint64Array, number, BigUint64Array, null, null, null, Pointer],
    Pointer
  >;
  readonly TF_GraphCopyFunction: Call<[Pointer, Pointer, Pointer, Pointer], void>;
  readonly TF_FunctionSetAttrValueProto: Call<[Pointer, string, Uint8Array, number, Pointer], void>;
  readonly TF_DeleteFunction: Call<[Pointer], void>;
  /** Null if this build of TensorFlow does not export its collective runtime. */
  readonly collective: CollectiveLibrary | null;
}

/** The functions for several processes. */
interface CollectiveLibrary {
  readonly TF_SetStatus: Call<[Pointer, number, string], void>;
  readonly TFE_EnableCollectiveOps: Call<[Pointer, Uint8Array, number, Pointer], void>;
  readonly TFE_AbortCollectiveOps: Call<[Pointer, Pointer], void>;
}

type Signature = readonly [result: string, ...parameters: string[]];

const collectiveSignatures: Readonly<Record<keyof CollectiveLibrary, Signature>> = {
  TF_SetStatus: ['void', 'void *', 'int', 'const char *'],
  TFE_EnableCollectiveOps: ['void', 'void *', 'void *', 'size_t', 'void *'],
  TFE_AbortCollectiveOps: ['void', 'void *', 'void *'],
};

const signatures: Readonly<Record<Exclude<keyof TensorflowLibrary, 'version' | 'collective'>, Signature>> = {
  TF_NewStatus: ['void *'],
  TF_DeleteStatus: ['void', 'void *'],
  TF_GetCode: ['int', 'void *'],
  TF_Message: ['const char *', 'void *'],
  TF_AllocateTensor: ['void *', 'int', 'int64_t *', 'int', 'size_t'],
  TF_TensorData: ['void *', 'void *'],
  TF_TensorByteSize: ['size_t', 'void *'],
  TF_DeleteTensor: ['void', 'void *'],
  TFE_NewContextOptions: ['void *'],
  TFE_DeleteContextOptions: ['void', 'void *'],
  TFE_ContextOptionsSetConfig: ['void', 'void *', 'uint8_t *', 'size_t', 'void *'],
  TFE_ContextOptionsSetAsync: ['void', 'void *', 'uint8_t'],
  TFE_NewContext: ['void *', 'void *', 'void *'],
  TFE_DeleteContext: ['void', 'void *'],
  TFE_ContextAsyncWait: ['void', 'void *', 'void *'],
  TFE_ContextAddFunction: ['void', 'void *', 'void *', 'void *'],
  TFE_ContextRemoveFunction: ['void', 'void *', 'const char *', 'void *'],
  TFE_ContextGetExecutorForThread: ['void *', 'void *'],
  TFE_ExecutorClearError: ['void', 'void *'],
  TFE_DeleteExecutor: ['void', 'void *'],
  TFE_NewTensorHandle: ['void *', 'void *', 'void *'],
  TFE_DeleteTensorHandle: ['void', 'void *'],
  TFE_TensorHandleCopySharingTensor: ['void *', 'void *', 'void *'],
  TFE_TensorHandleResolve: ['void *', 'void *', 'void *'],
  TFE_NewOp: ['void *', 'void *', 'const char *', 'void *'],
  TFE_DeleteOp: ['void', 'void *'],
  TFE_OpAddInput: ['void', 'void *', 'void *', 'void *'],
  TFE_OpAddInputList: ['void', 'void *', 'void *', 'int', 'void *'],
  TFE_OpSetAttrString: ['void', 'void *', 'const char *', 'void *', 'size_t'],
  TFE_OpSetAttrInt: ['void', 'void *', 'const char *', 'int64_t'],
  TFE_OpSetAttrFloat: ['void', 'void *', 'const char *', 'float'],
  TFE_OpSetAttrBool: ['void', 'void *', 'const char *', 'uint8_t'],
  TFE_OpSetAttrType: ['void', 'void *', 'const char *', 'int'],
  TFE_OpSetAttrShape: ['void', 'void *', 'const char *', 'int64_t *', 'int', 'void *'],
  TFE_Execute: ['void', 'void *', 'void *', 'int *', 'void *'],
  TF_NewGraph: ['void *'],
  TF_DeleteGraph: ['void', 'void *'],
  TF_NewOperation: ['void *', 'void *', 'const char *', 'const char *'],
  TF_AddInput: ['void', 'void *', 'TF_Output'],
  TF_AddInputList: ['void', 'void *', 'void *', 'int'],
  TF_AddControlInput: ['void', 'void *', 'void *'],
  TF_SetAttrString: ['void', 'void *', 'const char *', 'void *', 'size_t'],
  TF_SetAttrInt: ['void', 'void *', 'const char *', 'int64_t'],
  TF_SetAttrFloat: ['void', 'void *', 'const char *', 'float'],
  TF_SetAttrBool: ['void', 'void *', 'const char *', 'uint8_t'],
  TF_SetAttrType: ['void', 'void *', 'const char *', 'int'],
  TF_SetAttrShape: ['void', 'void *', 'const char *', 'int64_t *', 'int'],
  TF_SetAttrTypeList: ['void', 'void *', 'const char *', 'void *', 'int'],
  TF_SetAttrFuncName: ['void', 'void *', 'const char *', 'const char *', 'size_t'],
  TF_SetAttrTensor: ['void', 'void *', 'const char *', 'void *', 'void *'],
  TF_FinishOperation: ['void *', 'void *', 'void *'],
  TF_GraphToFunction: [
    'void *',
    'void *',
    'const char *',
    'uint8_t',
    'int',
    'void *',
    'int',
    'void *',
    'int',
    'void *',
    'void *',
    'void *',
    'const char *',
    'void *',
  ],
  TF_GraphCopyFunction: ['void', 'void *', 'void *', 'void *', 'void *'],
  TF_FunctionSetAttrValueProto: ['void', 'void *', 'const char *', 'void *', 'size_t', 'void *'],
  TF_DeleteFunction: ['void', 'void *'],
};

/** The framework library and the library with the C API, by platform. Windows has one file for both. */
const libraryNames: Readonly<Record<string, readonly [framework: string, core: string]>> = {
  linux: ['libtensorflow_framework.so.2', 'libtensorflow_cc.so.2'],
  darwin: ['libtensorflow_framework.2.dylib', 'libtensorflow_cc.2.dylib'],
  win32: [join('python', '_pywrap_tensorflow_common.dll'), join('python', '_pywrap_tensorflow_common.dll')],
};

const unavailable = (
  message: string,
  options: { found?: string; hint?: string; cause?: unknown } = {},
): WhetstoneError =>
  new WhetstoneError('BACKEND_UNAVAILABLE', message, {
    hint: 'Install it with: npx @whetstone/backend install cpu',
    ...options,
  });

function findLibrary(folder: string, name: string): string {
  const path = join(folder, name);
  if (existsSync(path)) return path;
  const found = existsSync(folder) ? `${readdirSync(folder).length} other files` : 'no such folder';
  throw unavailable(`TensorFlow's library ${name} is not in ${folder}.`, { found });
}

/** Limits TensorFlow's log to fatal errors. Abseil reads no environment variable, and a status reports all others. */
function silence(framework: LibraryHandle): void {
  const fatalOnly = 3;
  for (const name of ['_ZN4absl12lts_2025081414SetMinLogLevelENS0_18LogSeverityAtLeastE']) {
    try {
      framework.func(name, 'void', ['int'])(fatalOnly);
    } catch {
      // Another Abseil release. TensorFlow then prints a few lines, which is harmless.
    }
  }
}

const loaded = new Map<string, TensorflowLibrary>();

/**
 * Loads libtensorflow from a folder with `libtensorflow_framework.so.2` and `libtensorflow_cc.so.2`, such as
 * `tensorflow/` in a TensorFlow wheel. A process loads a folder once.
 *
 * @throws `BACKEND_UNAVAILABLE` with the reason
 */
export function loadTensorflowLibrary(libraryFolder: string): TensorflowLibrary {
  const known = loaded.get(libraryFolder);
  if (known !== undefined) return known;
  const names = libraryNames[process.platform];
  if (names === undefined) throw unavailable(`TensorFlow's library cannot be loaded on ${process.platform}.`);
  const frameworkPath = findLibrary(libraryFolder, names[0]);
  const corePath = findLibrary(libraryFolder, names[1]);
  for (const path of new Set([frameworkPath, corePath])) {
    const problem = libraryFileProblem(path);
    if (problem !== null)
      throw unavailable(`TensorFlow's library in ${libraryFolder} cannot be loaded: ${path}: ${problem}.`);
  }
  const lacking = missingInstructions(['avx']);
  if (lacking !== null)
    throw unavailable(`TensorFlow's library cannot be used: ${lacking}.`, {
      hint:
        'Use the backend wasm, or set WHETSTONE_TENSORFLOW_LIBRARY to the folder of a TensorFlow that was built for ' +
        'this processor.',
    });
  printErrorsOnly();
  try {
    // The framework comes first and is global: the other library uses its symbols.
    withoutStderr(() => pin(frameworkPath));
    const framework = koffi.load(frameworkPath, { lazy: true, global: true });
    silence(framework);
    pin(corePath);
    const library = bind(koffi.load(corePath, { lazy: true, global: true }));
    loaded.set(libraryFolder, library);
    return library;
  } catch (cause) {
    if (isWhetstoneError(cause)) throw cause;
    throw unavailable(`TensorFlow's library in ${libraryFolder} cannot be loaded: ${messageOf(cause)}`, { cause });
  }
}

function bind(handle: LibraryHandle): TensorflowLibrary {
  try {
    koffi.struct('TF_Output', { oper: 'void *', index: 'int' });
  } catch {
    // Already declared by an earlier load.
  }
  const bound: Record<string, unknown> = { version: String(handle.func('const char *TF_Version()')()) };
  for (const [name, [result, ...parameters]] of Object.entries(signatures)) {
    try {
      bound[name] = handle.func(name, result, parameters);
    } catch (cause) {
      throw unavailable(`TensorFlow ${String(bound['version'])} lacks ${name}, which this backend calls.`, { cause });
    }
  }
  bound['collective'] = bindCollective(handle);
  return bound as unknown as TensorflowLibrary;
}

function bindCollective(handle: LibraryHandle): CollectiveLibrary | null {
  const bound: Record<string, unknown> = {};
  try {
    for (const [name, [result, ...parameters]] of Object.entries(collectiveSignatures))
      bound[name] = handle.func(name, result, parameters);
  } catch {
    return null;
  }
  return bound as unknown as CollectiveLibrary;
}

/** Returns the files of a library folder that are loaded, in order. */
export function tensorflowFiles(libraryFolder: string): readonly string[] {
  return [...new Set(libraryNames[process.platform] ?? [])].map((name) => join(libraryFolder, name));
}
