import { open } from 'node:fs/promises';
import { WhetstoneError } from '@whetstone/core/contract';
import { fileError } from '@whetstone/core/files';
import { sizeOfShape } from '@whetstone/core/util';
import { canDequantize, dequantize } from '../dequantize.js';
import type { GgufHeader } from '../header.js';
import { readGgufHeader, readTensorBytes } from '../read-gguf.js';

/** An open GGUF file with a valid header. */
export interface GgufFile {
  readonly header: GgufHeader;
  /**
   * Reads and dequantises a tensor, row-major.
   *
   * @throws `MODEL_TENSOR_MISSING` if the file does not contain the tensor
   * @throws `GGUF_UNSUPPORTED` if the type cannot be read
   */
  readFloat32(name: string): Promise<Float32Array>;
  close(): Promise<void>;
}

/**
 * Opens a GGUF file and reads its header.
 *
 * @throws `FILE_NOT_FOUND` if the file does not exist
 * @throws `GGUF_INVALID` if the header is damaged
 * @throws `GGUF_UNSUPPORTED` if the version or byte order is not supported
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
