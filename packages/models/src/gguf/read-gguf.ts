import { open, type FileHandle } from 'node:fs/promises';
import { WhetstoneError } from '@whetstone/core/contract';
import { fileError } from '@whetstone/core/files';
import { canDequantize, dequantize } from './dequantize.js';
import { HeaderTooShort, invalidGguf, parseHeader, type GgufHeader, type GgufTensor } from './header.js';
import { sizeOfShape } from '@whetstone/core/util';

const FIRST_READ = 8 * 1024 * 1024;

/** An open GGUF file with a valid header. */
export interface GgufFile {
  readonly header: GgufHeader;
  /**
   * Reads and dequantises a tensor, row-major.
   *
   * @throws MODEL_TENSOR_MISSING if the file does not contain the tensor.
   * @throws GGUF_UNSUPPORTED if the type cannot be read.
   */
  readFloat32(name: string): Promise<Float32Array>;
  close(): Promise<void>;
}

/**
 * Opens a GGUF file and reads its header.
 *
 * @throws FILE_NOT_FOUND if the file does not exist.
 * @throws GGUF_INVALID if the header is damaged.
 * @throws GGUF_UNSUPPORTED if the version or byte order is not supported.
 */
export async function openGguf(file: string): Promise<GgufFile> {
  const handle = await open(file, 'r').catch((cause: unknown) => {
    throw fileError(cause, file);
  });
  try {
    const header = await readGgufHeader(handle, file);
    return {
      header,
      async readFloat32(name) {
        const tensor = header.tensors.get(name);
        if (tensor === undefined)
          throw new WhetstoneError('MODEL_TENSOR_MISSING', 'The file does not contain the tensor.', {
            place: { file, tensor: name },
          });
        if (!canDequantize(tensor.type.name))
          throw new WhetstoneError('GGUF_UNSUPPORTED', 'The tensor has a type that cannot be read.', {
            place: { file, tensor: name },
            found: tensor.type.name,
          });
        return dequantize(tensor.type.name, await readTensorBytes(handle, file, tensor), sizeOfShape(tensor.shape));
      },
      close: () => handle.close(),
    };
  } catch (error) {
    await handle.close();
    throw error;
  }
}

/** Reads and checks the header of an open GGUF file. It reads more of the file as long as the header is incomplete. */
export async function readGgufHeader(handle: FileHandle, file: string): Promise<GgufHeader> {
  const { size } = await handle.stat();
  for (let length = Math.min(size, FIRST_READ); ;) {
    const bytes = await readRange(handle, file, 0, length);
    try {
      return parseHeader({ file, bytes, fileBytes: size });
    } catch (cause) {
      if (!(cause instanceof HeaderTooShort)) throw cause;
      length = Math.min(size, Math.max(2 * length, cause.needed));
    }
  }
}

/** Reads the stored bytes of a tensor. */
export function readTensorBytes(handle: FileHandle, file: string, { begin, end }: GgufTensor): Promise<Uint8Array> {
  return readRange(handle, file, begin, end - begin);
}

async function readRange(handle: FileHandle, file: string, position: number, length: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(length);
  for (let done = 0; done < length;) {
    const { bytesRead } = await handle
      .read(bytes, done, Math.min(length - done, 1 << 30), position + done)
      .catch((cause: unknown) => {
        throw fileError(cause, file);
      });
    if (bytesRead === 0) throw invalidGguf(file, 'The file ends within the data of a tensor.', position + done);
    done += bytesRead;
  }
  return bytes;
}
