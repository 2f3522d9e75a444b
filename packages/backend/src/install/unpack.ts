import { createHash } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { mkdir, open, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { WhetstoneError } from '@whetstone/core/contract';
import type { InstallOptions } from './progress.js';

export interface UnpackedFile {
  /** Path within the archive, with forward slashes. */
  readonly path: string;
  readonly bytes: number;
  /** Hex SHA-256. Absent in records of version 0.1.0. */
  readonly sha256?: string;
  /** When the file was last modified, in milliseconds. Absent in records of version 0.1.0. */
  readonly modified?: number;
}

/** Returns an entry's Unix permissions, the upper half of its attributes, or 644. Executables need theirs. */
const modeOf = (attributes: number): number => (attributes >>> 16) & 0o777 || 0o644;

/**
 * Extracts the entries of a zip archive whose path matches `keep`. Entries are streamed, because they may be larger
 * than memory. yauzl refuses absolute paths, `..`, and entries whose size differs from the archive's directory.
 *
 * @throws `INTERRUPTED`
 */
export async function unpack(
  archive: string,
  folder: string,
  keep: RegExp,
  subject: string,
  options: InstallOptions = {},
): Promise<UnpackedFile[]> {
  const { openPromise } = await import('yauzl');
  const zip = await openPromise(archive, { autoClose: false });
  try {
    const entries = [];
    for await (const entry of zip.eachEntry()) if (keep.test(entry.fileName)) entries.push(entry);
    const totalBytes = entries.reduce((sum, entry) => sum + entry.uncompressedSize, 0);
    let doneBytes = 0;
    const files: UnpackedFile[] = [];
    for (const entry of entries) {
      const hash = createHash('sha256');
      const target = join(folder, entry.fileName);
      await mkdir(dirname(target), { recursive: true });
      const count = new Transform({
        transform(chunk: Buffer, _encoding, done) {
          hash.update(chunk);
          doneBytes += chunk.length;
          options.onProgress?.({ stage: 'unpack', subject, doneBytes, totalBytes });
          done(null, chunk);
        },
      });
      await pipeline(
        await zip.openReadStreamPromise(entry),
        count,
        createWriteStream(target, { highWaterMark: 1 << 20, mode: modeOf(entry.externalFileAttributes) }),
        { signal: options.signal },
      );
      const handle = await open(target, 'r+');
      await handle.sync().finally(() => handle.close());
      const { mtimeMs } = await stat(target);
      files.push({
        path: entry.fileName,
        bytes: entry.uncompressedSize,
        sha256: hash.digest('hex'),
        modified: mtimeMs,
      });
    }
    return files;
  } catch (cause) {
    if (options.signal?.aborted)
      throw new WhetstoneError('INTERRUPTED', `Unpacking ${subject} was interrupted. No incomplete files remain.`, {
        cause,
      });
    throw cause;
  } finally {
    zip.close();
  }
}
