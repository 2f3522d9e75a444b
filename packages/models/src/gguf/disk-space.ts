import { statfs } from 'node:fs/promises';
import { WhetstoneError } from '@whetstone/core/contract';
import { fileError } from '@whetstone/core/files';

/**
 * Checks that a disk has space for a model.
 *
 * @throws `DISK_FULL` if it has not
 */
export async function checkDiskSpace(folder: string, bytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(folder).catch((cause: unknown) => {
    throw fileError(cause, folder);
  });
  const free = bavail * bsize;
  if (free < bytes + 32e6) {
    const gigabytes = (count: number): string => `${(count / 1e9).toFixed(2)} GB`;
    throw new WhetstoneError('DISK_FULL', 'The disk does not have enough space for the model.', {
      place: { file: folder },
      expected: gigabytes(bytes),
      found: `${gigabytes(free)} free`,
    });
  }
}
