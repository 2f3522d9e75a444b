import { WhetstoneError } from '../contract/index.js';
import { writeAtomically, writeFully } from '../files/write.js';
import { bytesPerElement, narrow, type SafetensorsDtype, type TensorData } from '../dtypes.js';
import { bytesOf, sizeOfShape } from '../util/index.js';

/**
 * A tensor to write. If `data` is a function, it is called when the tensor is written, so that only one tensor at a
 * time is in memory. For F32, F16 and BF16, a Float32Array is rounded to the dtype. All other data must have the
 * dtype's own format.
 */
export interface TensorToWrite {
  readonly name: string;
  readonly dtype: SafetensorsDtype;
  readonly shape: readonly number[];
  readonly data: TensorData | (() => TensorData | Promise<TensorData>);
}

/** Returns the size of a tensor in bytes. */
export const byteSize = ({ dtype, shape }: Pick<TensorToWrite, 'dtype' | 'shape'>): number =>
  sizeOfShape(shape) * bytesPerElement[dtype];

/**
 * Writes a safetensors file atomically, one tensor at a time. Tensors are sorted by decreasing element size, so that
 * all are aligned.
 *
 * @throws `SAFETENSORS_INVALID` if data does not match its shape, or two tensors have the same name
 * @throws `DISK_FULL` if there is not enough space
 * @throws the other errors of `writeAtomically`
 */
export async function writeSafetensors(
  file: string,
  tensors: Iterable<TensorToWrite>,
  metadata: Readonly<Record<string, string>> = { format: 'pt' },
): Promise<void> {
  const ordered = [...tensors].sort((a, b) => bytesPerElement[b.dtype] - bytesPerElement[a.dtype]);
  const header = encodeHeader(file, ordered, metadata);
  await writeAtomically(file, async (handle) => {
    await writeFully(handle, header);
    for (const tensor of ordered) {
      const data = typeof tensor.data === 'function' ? await tensor.data() : tensor.data;
      await writeFully(handle, encodeTensor(file, tensor, data));
    }
  });
}

function encodeHeader(
  file: string,
  tensors: readonly TensorToWrite[],
  metadata: Readonly<Record<string, string>>,
): Uint8Array {
  const entries: [string, unknown][] = [['__metadata__', metadata]];
  const names = new Set<string>();
  let position = 0;
  for (const tensor of tensors) {
    if (names.has(tensor.name))
      throw new WhetstoneError('SAFETENSORS_INVALID', 'Two tensors have the same name.', {
        place: { file, tensor: tensor.name },
      });
    names.add(tensor.name);
    const end = position + byteSize(tensor);
    entries.push([tensor.name, { dtype: tensor.dtype, shape: tensor.shape, data_offsets: [position, end] }]);
    position = end;
  }
  const json = new TextEncoder().encode(JSON.stringify(Object.fromEntries(entries)));
  const length = Math.ceil(json.byteLength / 8) * 8;
  const header = new Uint8Array(8 + length).fill(0x20);
  new DataView(header.buffer).setBigUint64(0, BigInt(length), true);
  header.set(json, 8);
  return header;
}

/** Returns the bytes of a tensor. */
function encodeTensor(file: string, tensor: TensorToWrite, data: TensorData): Uint8Array {
  const { dtype } = tensor;
  const bytes =
    data instanceof Float32Array && (dtype === 'F16' || dtype === 'BF16' || dtype === 'F32')
      ? narrow(data, dtype)
      : bytesOf(data);
  if (bytes.byteLength !== byteSize(tensor)) {
    throw new WhetstoneError('SAFETENSORS_INVALID', 'The size of the data does not match the shape of the tensor.', {
      place: { file, tensor: tensor.name },
      expected: `${byteSize(tensor)} bytes of ${dtype} [${tensor.shape.join(', ')}]`,
      found: `${bytes.byteLength} bytes`,
    });
  }
  return bytes;
}
