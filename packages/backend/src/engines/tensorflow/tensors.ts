import { totalmem } from 'node:os';
import { WhetstoneError } from '@whetstone/core/contract';
import koffi from 'koffi';
import { sizeOfShape, toError } from '@whetstone/core/util';
import { bytesPerElement, type DeviceArray, type StorageDtype, type TypedArray } from '../../recorder/types.js';
import { inHostMemory, narrow, typedArray } from '../bytes.js';
import { gigabytes, memoryHint } from '../out-of-memory.js';
import { dimensions, tensorflowType } from './data-types.js';
import type { Pointer, TensorflowLibrary } from './library.js';
import { failure, Status } from './status.js';

/** Bytes of one view of TensorFlow's memory. Node allows 4 GiB, and ends the process for more. */
const CHUNK_BYTES = 2 ** 30;
const MAX_FILL_BYTES = 2 ** 32;

/** Calls `visit` with views of a tensor's memory, in chunks. They are not copies, and valid while the tensor exists. */
function forEachChunk(
  library: TensorflowLibrary,
  tensor: Pointer,
  length: number,
  visit: (chunk: Uint8Array, offset: number) => void,
): void {
  const start = library.TF_TensorData(tensor);
  for (let offset = 0; offset < length; offset += CHUNK_BYTES)
    visit(new Uint8Array(koffi.view(start + BigInt(offset), Math.min(CHUNK_BYTES, length - offset))), offset);
}

/**
 * Returns an uninitialised TF_Tensor of `length` bytes. The caller deletes it.
 *
 * @throws `OUT_OF_MEMORY`
 */
export function allocate(
  library: TensorflowLibrary,
  type: StorageDtype,
  shape: readonly number[],
  length: number,
): Pointer {
  if (length > totalmem()) {
    throw new WhetstoneError(
      'OUT_OF_MEMORY',
      `A tensor of shape [${shape.join(', ')}] needs ${gigabytes(length)}; this machine has ${gigabytes(totalmem())}.`,
      {
        hint: memoryHint,
        details: { bytes: length, totalBytes: totalmem() },
      },
    );
  }
  const tensor = library.TF_AllocateTensor(tensorflowType[type], dimensions(shape), shape.length, length);
  if (!tensor) {
    throw new WhetstoneError(
      'OUT_OF_MEMORY',
      `Not enough memory for a tensor of shape [${shape.join(', ')}]: it needs ${gigabytes(length)}.`,
      { hint: memoryHint, details: { bytes: length } },
    );
  }
  return tensor;
}

/** Returns a TF_Tensor with a copy of `values`. The caller deletes it. */
export function newTensor(
  library: TensorflowLibrary,
  type: StorageDtype,
  shape: readonly number[],
  values: DeviceArray,
): Pointer {
  const source = type === 'bfloat16' && values instanceof Float32Array ? narrow(values) : values;
  const length = sizeOfShape(shape) * bytesPerElement[type];
  if (source.byteLength !== length) {
    throw new WhetstoneError(
      'INTERNAL',
      `A tensor of shape [${shape.join(', ')}] needs ${length} bytes, but ${source.byteLength} were given.`,
    );
  }
  const tensor = allocate(library, type, shape, length);
  forEachChunk(library, tensor, length, (chunk, offset) =>
    chunk.set(new Uint8Array(source.buffer, source.byteOffset + offset, chunk.length)),
  );
  return tensor;
}

/** Copies host values into a new tensor and returns its eager handle. */
export function upload(
  library: TensorflowLibrary,
  status: Status,
  type: StorageDtype,
  shape: readonly number[],
  values: DeviceArray,
): Pointer {
  const tensor = newTensor(library, type, shape, values);
  const handle = library.TFE_NewTensorHandle(tensor, status.pointer);
  library.TF_DeleteTensor(tensor);
  status.check(`Uploading a tensor of shape [${shape.join(', ')}]`);
  return handle;
}

/** Lets `fill` write into TensorFlow's memory, without a copy, and returns the tensor's eager handle. */
export async function uploadFrom(
  library: TensorflowLibrary,
  type: StorageDtype,
  shape: readonly number[],
  fill: (bytes: Uint8Array) => Promise<void>,
): Promise<Pointer> {
  const length = sizeOfShape(shape) * bytesPerElement[type];
  if (length > MAX_FILL_BYTES)
    throw new WhetstoneError(
      'OUT_OF_MEMORY',
      `A tensor ${type} [${shape.join(', ')}] of ${gigabytes(length)} is too large to be loaded.`,
      {
        expected: `at most ${gigabytes(MAX_FILL_BYTES)}`,
        found: gigabytes(length),
        hint: 'Store the weights in fewer bytes: model.dtype "bfloat16".',
      },
    );
  const tensor = allocate(library, type, shape, length);
  const status = new Status(library);
  try {
    if (length > 0) await fill(new Uint8Array(koffi.view(library.TF_TensorData(tensor), length)));
    const handle = library.TFE_NewTensorHandle(tensor, status.pointer);
    status.check(`Uploading a tensor of shape [${shape.join(', ')}]`);
    return handle;
  } finally {
    status.dispose();
    library.TF_DeleteTensor(tensor);
  }
}

/** Returns a copy of a resolved tensor's values and deletes the tensor. */
function takeValues(library: TensorflowLibrary, tensor: Pointer, type: StorageDtype, size: number): TypedArray {
  try {
    const length = library.TF_TensorByteSize(tensor);
    if (length !== size * bytesPerElement[type]) {
      throw new WhetstoneError(
        'INTERNAL',
        `A result has ${length / bytesPerElement[type]} numbers; the recorded shape has ${size}.`,
      );
    }
    const copy = inHostMemory(type, [size], (bytes) => new ArrayBuffer(bytes));
    forEachChunk(library, tensor, length, (chunk, offset) => new Uint8Array(copy, offset, chunk.length).set(chunk));
    return inHostMemory(type, [size], () => typedArray(type, copy));
  } finally {
    library.TF_DeleteTensor(tensor);
  }
}

/** Waits for a tensor and returns a copy of its values. */
export function download(
  library: TensorflowLibrary,
  status: Status,
  handle: Pointer,
  type: StorageDtype,
  size: number,
): TypedArray {
  const tensor = library.TFE_TensorHandleResolve(handle, status.pointer);
  status.check();
  return takeValues(library, tensor, type, size);
}

/** Like `download`, on a thread of libuv. The handle may be deleted meanwhile: a second one keeps the tensor alive. */
export function downloadLater(
  library: TensorflowLibrary,
  handle: Pointer,
  type: StorageDtype,
  size: number,
): Promise<TypedArray> {
  const status = library.TF_NewStatus();
  const own = library.TFE_TensorHandleCopySharingTensor(handle, status);
  const finish = (tensor: Pointer): TypedArray => {
    try {
      const code = library.TF_GetCode(status);
      if (code !== 0) throw failure(code, library.TF_Message(status), undefined);
      return takeValues(library, tensor, type, size);
    } finally {
      library.TFE_DeleteTensorHandle(own);
      library.TF_DeleteStatus(status);
    }
  };
  return new Promise((resolve, reject) => {
    library.TFE_TensorHandleResolve.async(own, status, (error, tensor) => {
      try {
        if (error !== null && error !== undefined) throw error;
        resolve(finish(tensor));
      } catch (cause) {
        reject(toError(cause));
      }
    });
  });
}
