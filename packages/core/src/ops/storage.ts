import { backend, engine, tensor, type KernelBackend, type Tensor, type TensorInfo } from '@tensorflow/tfjs-core';
import type { PackedTensor, StorageFormat, StoringBackend } from '../contract/storage.js';
import { narrow } from '../dtypes.js';
import { fusedKernel } from './kernels.js';
import { bytesOfPacked, keepPacked, packedOf } from './packed-on-host.js';
import { unpackOnHost } from './unpack.js';
import { sizeOfShape } from '../util/index.js';

/**
 * Kernel of backends that support bfloat16 storage. Input: `x`, float32. Output: the rounded numbers, stored in two
 * bytes each.
 */
const STORE_BFLOAT16_KERNEL = 'WhetstoneStoreBfloat16';

/** Returns the current backend if it supports packed storage, otherwise null. */
function storingBackend(): (KernelBackend & StoringBackend) | null {
  const present = backend() as KernelBackend & Partial<StoringBackend>;
  return present.storePacked === undefined ? null : (present as KernelBackend & StoringBackend);
}

const tensorOf = ({ dataId, shape, dtype }: TensorInfo, owner: KernelBackend): Tensor =>
  engine().makeTensorFromDataId(dataId, shape, dtype, owner);

/**
 * Creates a float32 tensor that is stored packed on the device. Operations use it like any other tensor: each unpacks
 * it within its own graph, so that no float32 copy outlives its use.
 *
 * The backends cpu and wasm of tfjs-core also store 4-bit and 8-bit formats packed, but bfloat16 as float32: converting
 * a complete table for each token lookup would cost more than it saves. Other backends store all formats as float32.
 */
export function storePacked(packed: PackedTensor): Tensor {
  const owner = storingBackend();
  if (owner === null)
    return (
      (packed.format === 'bfloat16' ? null : keepPacked(packed)) ??
      tensor(unpackOnHost(packed), [...packed.shape], 'float32')
    );
  return tensorOf(owner.storePacked(packed), owner);
}

/**
 * Rounds a float32 tensor to bfloat16 (nearest, ties to even) and stores it in two bytes per number if the backend
 * supports it. Not differentiable.
 */
export function storeBfloat16(x: Tensor): Tensor {
  const stored = fusedKernel(STORE_BFLOAT16_KERNEL, { x });
  if (stored !== null) return stored[0] as Tensor;
  const bits = narrow(x.dataSync<'float32'>(), 'BF16');
  return storePacked({
    format: 'bfloat16',
    shape: x.shape,
    bits: new Uint16Array(bits.buffer, bits.byteOffset, bits.byteLength / 2),
  });
}

/** Returns the storage format of a tensor and its size on the device in bytes. */
export function storageOf(x: Tensor): { readonly format: StorageFormat; readonly bytes: number } {
  const packed = packedOf(x.dataId);
  if (packed !== undefined) return { format: packed.format, bytes: bytesOfPacked(packed) };
  return storingBackend()?.storageOf(x.dataId) ?? { format: 'float32', bytes: 4 * x.size };
}

/**
 * Creates a float32 tensor whose bytes are written directly into its final memory. `fill` gets the memory: float32
 * numbers, or with `bfloat16` their upper halves, little-endian. If `fill` throws, the memory is freed and the error
 * rethrown.
 */
export async function storeFrom(
  shape: readonly number[],
  format: 'float32' | 'bfloat16',
  fill: (bytes: Uint8Array) => Promise<void>,
): Promise<Tensor> {
  const owner = storingBackend();
  if (owner !== null) return tensorOf(await owner.storeFrom(shape, format, fill), owner);
  const count = sizeOfShape(shape);
  if (format === 'bfloat16') {
    const bits = new Uint16Array(count);
    await fill(new Uint8Array(bits.buffer));
    return storePacked({ format, shape, bits });
  }
  const values = new Float32Array(count);
  await fill(new Uint8Array(values.buffer));
  return tensor(values, [...shape], 'float32');
}
