import { open, type FileHandle } from 'node:fs/promises';
import { WhetstoneError } from '@whetstone/core/contract';
import { fileError } from '@whetstone/core/files';
import { canDequantize, dequantize } from './dequantize.js';
import { HeaderTooShort, invalidGguf, parseHeader, type GgufHeader, type GgufTensor } from './header.js';
import { sizeOfShape } from '@whetstone/core/util';

const FIRST_READ = 8 * 1024 * 1024;

/** An open GGUF file whose header was checked. */
export interface GgufFile {
  readonly header: GgufHeader;
  /**
   * The numbers of a tensor, row-major. Throws `MODEL_TENSOR_MISSING`, or `GGUF_UNSUPPORTED` for a type that cannot be
   * read.
   */
  readFloat32(name: string): Promise<Float32Array>;
  close(): Promise<void>;
}

/** Opens a GGUF file to look into it. Throws `FILE_NOT_FOUND`, `GGUF_INVALID`, `GGUF_UNSUPPORTED`. */
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
          throw new WhetstoneError('MODEL_TENSOR_MISSING', 'The file holds no such tensor.', {
            place: { file, tensor: name },
          });
        if (!canDequantize(tensor.type.name))
          throw new WhetstoneError('GGUF_UNSUPPORTED', 'The tensor is stored as a type that cannot be read.', {
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

/**
 * Reads and checks the header of an open GGUF file: no more of the file than the header takes, and never more than
 * there is.
 */
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

/** The stored bytes of one tensor. */
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
    if (bytesRead === 0) throw invalidGguf(file, 'The file ends before it should.', position + done);
    done += bytesRead;
  }
  return bytes;
}
