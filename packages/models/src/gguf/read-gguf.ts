import type { FileHandle } from 'node:fs/promises';
import { fileError } from '@whetstone/core/files';
import { HeaderTooShort, invalidGguf, parseHeader, type GgufHeader, type GgufTensor } from './header.js';

const FIRST_READ = 8 * 1024 * 1024;

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
