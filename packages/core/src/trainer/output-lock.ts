import type { Logger } from '../contract/index.js';
import { createFolderLock, leftLockIn, noLock, type FolderLock, type LeftLock } from '../files/index.js';
import { describeUnfinished, recordStatus, statusIn, type StatusRecorder } from './run-status.js';

/** The lock of an output folder, with the status of the run that holds it. */
export interface OutputLock extends FolderLock {
  /** Records how far the run is, for the next run if this one is killed. Does nothing unless the lock is held. */
  note: StatusRecorder['note'];
}

/** What a lock reports: that a stale lock was taken over, and how the run ended that left it. */
export type LockLogger = Pick<Logger, 'info' | 'warn'>;

/** A lock for a run that writes nothing. */
export const noOutputLock: OutputLock = { ...noLock, note: () => undefined };

/** Creates the lock of an output folder. It is not taken yet. */
export function createOutputLock(folder: string, logger: LockLogger): OutputLock {
  let left: LeftLock | null = null;
  let status: StatusRecorder | null = null;
  const lock = createFolderLock(folder, 'run', (message, lockThatWasLeft) => {
    logger.info(message);
    left = lockThatWasLeft ?? left;
  });
  return {
    ...lock,
    note: (changes) => status?.note(changes),
    async take() {
      await lock.take();
      const token = lock.heldToken();
      if (token === null || status !== null) return;
      if (left !== null) logger.warn(await describeLeft(folder, left));
      left = null;
      status = await recordStatus(folder, token);
    },
    async release() {
      await status?.close();
      status = null;
      await lock.release();
    },
  };
}

const describeLeft = async (folder: string, { holder, token, renewed }: LeftLock): Promise<string> =>
  describeUnfinished(folder, holder, renewed, token === null ? null : await statusIn(folder, token));

/**
 * Describes the last run in a folder if it ended without finishing, for errors that occur before a run takes the lock.
 * Returns null if it finished, still runs, or cannot be seen from here.
 */
export async function unfinishedRunIn(folder: string): Promise<string | null> {
  try {
    const left = await leftLockIn(folder);
    return left === null ? null : await describeLeft(folder, left);
  } catch {
    // The error that follows is about the folder, too.
    return null;
  }
}
