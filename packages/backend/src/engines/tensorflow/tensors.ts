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

/** Node's native interface shows at most 4 GiB at once, and ends the process for more. */
const MOST_SHOWN = 2 ** 30;
const MOST_FILLED = 2 ** 32;

/** TensorFlow's memory as seen from JavaScript, piece by piece: no copy, valid while the tensor lives. */
function eachPiece(
  library: TensorflowLibrary,
  tensor: Pointer,
  length: number,
  visit: (piece: Uint8Array, offset: number) => void,
): void {
  const start = library.TF_TensorData(tensor);
  for (let offset = 0; offset < length; offset += MOST_SHOWN)
    visit(new Uint8Array(koffi.view(start + BigInt(offset), Math.min(MOST_SHOWN, length - offset))), offset);
}

/** A TF_Tensor of so many bytes, whatever they are. Its owner deletes it. */
function allocate(library: TensorflowLibrary, type: StorageDtype, shape: readonly number[], length: number): Pointer {
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
      `There is no memory for a tensor of shape [${shape.join(', ')}]: ${gigabytes(length)} were needed.`,
      { hint: memoryHint, details: { bytes: length } },
    );
  }
  return tensor;
}

/** A TF_Tensor that holds a copy of `values`. Its owner deletes it. */
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
  eachPiece(library, tensor, length, (piece, offset) =>
    piece.set(new Uint8Array(source.buffer, source.byteOffset + offset, piece.length)),
  );
  return tensor;
}

/** Copies host values into a fresh eager handle. */
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

/** Hands out TensorFlow's own memory to be filled, and gives the handle of the tensor: no copy is made. */
export async function uploadFrom(
  library: TensorflowLibrary,
  type: StorageDtype,
  shape: readonly number[],
  fill: (bytes: Uint8Array) => Promise<void>,
): Promise<Pointer> {
  const length = sizeOfShape(shape) * bytesPerElement[type];
  if (length > MOST_FILLED)
    throw new WhetstoneError(
      'OUT_OF_MEMORY',
      `A tensor ${type} [${shape.join(', ')}] of ${gigabytes(length)} cannot be filled in one piece.`,
      {
        expected: `${gigabytes(MOST_FILLED)} at most`,
        found: gigabytes(length),
        hint: 'Keep the weights smaller: model.dtype "bfloat16".',
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

/** Copies a resolved tensor out and deletes it. */
function takeValues(library: TensorflowLibrary, tensor: Pointer, type: StorageDtype, size: number): TypedArray {
  try {
    const length = library.TF_TensorByteSize(tensor);
    if (length !== size * bytesPerElement[type]) {
      throw new WhetstoneError(
        'INTERNAL',
        `A result of ${size} numbers was recorded, but TensorFlow made ${length / bytesPerElement[type]}.`,
      );
    }
    const copy = inHostMemory(type, [size], (bytes) => new ArrayBuffer(bytes));
    eachPiece(library, tensor, length, (piece, offset) => new Uint8Array(copy, offset, piece.length).set(piece));
    return inHostMemory(type, [size], () => typedArray(type, copy));
  } finally {
    library.TF_DeleteTensor(tensor);
  }
}

/** Waits for a handle's values. */
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

/** The same on a thread of libuv's. The handle may be deleted meanwhile: a second one holds the tensor. */
export function downloadLater(
  library: TensorflowLibrary,
  handle: Pointer,
  type: StorageDtype,
  size: number,
): Promise<TypedArray> {
  const status = library.TF_NewStatus();
  const held = library.TFE_TensorHandleCopySharingTensor(handle, status);
  const finish = (tensor: Pointer): TypedArray => {
    try {
      const code = library.TF_GetCode(status);
      if (code !== 0) throw failure(code, library.TF_Message(status), undefined);
      return takeValues(library, tensor, type, size);
    } finally {
      library.TFE_DeleteTensorHandle(held);
      library.TF_DeleteStatus(status);
    }
  };
  return new Promise((resolve, reject) => {
    library.TFE_TensorHandleResolve.async(held, status, (error, tensor) => {
      try {
        if (error !== null && error !== undefined) throw error;
        resolve(finish(tensor));
      } catch (cause) {
        reject(toError(cause));
      }
    });
  });
}
