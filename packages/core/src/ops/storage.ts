import { backend, engine, tensor, type KernelBackend, type Tensor, type TensorInfo } from '@tensorflow/tfjs-core';
import type { PackedTensor, StorageFormat, StoringBackend } from '../contract/storage.js';
import { narrow } from '../dtypes.js';
import { fusedKernel } from './fused-kernel.js';
import { bytesOfPacked, keepPacked, packedOf } from './packed-on-host.js';
import { unpackOnHost } from './unpack.js';
import { sizeOfShape } from '../util/index.js';

/**
 * Kernel of backends that keep bfloat16: input `x`, float32; output the same numbers, rounded and kept in two bytes
 * each.
 */
const STORE_BFLOAT16_KERNEL = 'WhetstoneStoreBfloat16';

/** The backend in use where it keeps tensors in fewer bytes, else null. */
function storing(): (KernelBackend & StoringBackend) | null {
  const present = backend() as KernelBackend & Partial<StoringBackend>;
  return present.storePacked === undefined ? null : (present as KernelBackend & StoringBackend);
}

const tensorOf = ({ dataId, shape, dtype }: TensorInfo, owner: KernelBackend): Tensor =>
  engine().makeTensorFromDataId(dataId, shape, dtype, owner);

/**
 * A float32 tensor that is kept packed on the device. It is computed with like any other: each operation that uses it
 * unpacks it within its own graph, so that no float32 copy outlives its use. tfjs-core's backends cpu and wasm keep 4
 * and 8 bits so, too; bfloat16 they keep as float32, as other backends keep everything: widening a whole table for each
 * token that is looked up would cost more than it saves.
 */
export function storePacked(packed: PackedTensor): Tensor {
  const owner = storing();
  if (owner === null)
    return (
      (packed.format === 'bfloat16' ? null : keepPacked(packed)) ??
      tensor(unpackOnHost(packed), [...packed.shape], 'float32')
    );
  return tensorOf(owner.storePacked(packed), owner);
}

/**
 * Rounds a float32 tensor to bfloat16 (nearest, ties to even) and keeps it in two bytes a number where the backend can.
 * Not differentiable.
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

/** How a tensor is kept, and the bytes that it takes on the device. */
export function storageOf(x: Tensor): { readonly format: StorageFormat; readonly bytes: number } {
  const packed = packedOf(x.dataId);
  if (packed !== undefined) return { format: packed.format, bytes: bytesOfPacked(packed) };
  return storing()?.storageOf(x.dataId) ?? { format: 'float32', bytes: 4 * x.size };
}

/**
 * A float32 tensor whose bytes are written where they stay. `fill` gets the memory to write: float32 numbers, or with
 * `bfloat16` their upper halves, little-endian. What it throws is thrown on, and the memory is freed.
 */
export async function storeFrom(
  shape: readonly number[],
  format: 'float32' | 'bfloat16',
  fill: (bytes: Uint8Array) => Promise<void>,
): Promise<Tensor> {
  const owner = storing();
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
