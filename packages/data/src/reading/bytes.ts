import { createReadStream } from 'node:fs';
import { createGunzip } from 'node:zlib';
import { isWhetstoneError, WhetstoneError } from '@whetstone/core/contract';
import { checkRegular } from '@whetstone/core/files';

const GZIP_MAGIC = [0x1f, 0x8b];

function readFailed(file: string, cause: unknown): WhetstoneError {
  if (isWhetstoneError(cause)) return cause;
  const code = (cause as { code?: string }).code;
  if (code === 'ENOENT')
    return new WhetstoneError('FILE_NOT_FOUND', 'The data file does not exist.', { place: { file }, cause });
  return new WhetstoneError('FILE_UNREADABLE', `The data file cannot be read: ${(cause as Error).message}`, {
    place: { file },
    cause,
  });
}

/** Receives the number of bytes that were read from disk, before decompression. */
export type OnBytes = (bytes: number) => void;

async function* rawBytes(file: string, onBytes: OnBytes | undefined, chunkBytes: number): AsyncGenerator<Buffer> {
  try {
    await checkRegular(file);
    for await (const chunk of createReadStream(file, { highWaterMark: chunkBytes })) {
      onBytes?.((chunk as Buffer).length);
      yield chunk as Buffer;
    }
  } catch (cause) {
    throw readFailed(file, cause);
  }
}

/** Yields the first chunk again, then the rest. */
async function* rejoin(first: Buffer, rest: AsyncGenerator<Buffer>): AsyncGenerator<Buffer> {
  yield first;
  yield* rest;
}

async function* gunzip(chunks: AsyncGenerator<Buffer>, file: string): AsyncGenerator<Buffer> {
  const stream = createGunzip();
  const feeding = (async () => {
    try {
      for await (const chunk of chunks) {
        if (stream.destroyed) return;
        if (!stream.write(chunk))
          await new Promise<void>((resolve) => {
            stream.once('drain', resolve);
            stream.once('close', resolve);
          });
      }
      stream.end();
    } catch (error) {
      stream.destroy(error as Error);
    }
  })();
  try {
    for await (const chunk of stream) yield chunk as Buffer;
  } catch (cause) {
    throw new WhetstoneError('FILE_UNREADABLE', `The gzip data is corrupt: ${(cause as Error).message}`, {
      place: { file },
      hint: 'The file may be incomplete; compress or download it again.',
      cause,
    });
  } finally {
    stream.destroy();
    await feeding;
  }
}

async function* utf16ToUtf8(
  chunks: AsyncGenerator<Buffer>,
  label: 'utf-16le' | 'utf-16be',
  file: string,
): AsyncGenerator<Buffer> {
  const decoder = new TextDecoder(label, { fatal: true });
  try {
    for await (const chunk of chunks) yield Buffer.from(decoder.decode(chunk, { stream: true }));
    yield Buffer.from(decoder.decode());
  } catch (cause) {
    if (!(cause instanceof TypeError)) throw cause;
    throw new WhetstoneError(
      'FILE_UNREADABLE',
      `The file has a ${label.toUpperCase()} byte-order mark but is not valid ${label.toUpperCase()}.`,
      {
        place: { file },
        hint: 'Convert it to UTF-8.',
        cause,
      },
    );
  }
}

/**
 * Yields the bytes of a file in chunks, as UTF-8 that is not validated. Gzip is detected by content and unpacked;
 * UTF-16 with a byte-order mark is converted. A UTF-8 byte-order mark is not removed.
 *
 * @throws `FILE_NOT_FOUND`
 * @throws `FILE_UNREADABLE`
 */
export async function* readBytes(file: string, onBytes?: OnBytes, chunkBytes = 1 << 19): AsyncGenerator<Buffer> {
  let chunks = rawBytes(file, onBytes, chunkBytes);
  let first = await chunks.next();
  if (first.done) return;
  if (GZIP_MAGIC.every((byte, index) => first.value[index] === byte)) {
    chunks = gunzip(rejoin(first.value, chunks), file);
    first = await chunks.next();
    if (first.done) return;
  }
  const [a, b] = first.value;
  const all = rejoin(first.value, chunks);
  if (a === 0xff && b === 0xfe) yield* utf16ToUtf8(all, 'utf-16le', file);
  else if (a === 0xfe && b === 0xff) yield* utf16ToUtf8(all, 'utf-16be', file);
  else yield* all;
}
