import { renameSync } from 'node:fs';
import { rename, rm } from 'node:fs/promises';
import { setTimeout } from 'node:timers/promises';
import { codeOf } from './errors.js';

/** Errors of Windows while another process, such as a virus scanner, has a file open: they pass. */
const PASSING = ['EPERM', 'EACCES', 'EBUSY'];

/** Pauses between attempts, in milliseconds: about ten seconds in all. */
const PAUSES = [10, 20, 50, 100, 200, 400, 800, 1600, 3200, 3600];

/** Where an operation on a file runs; by default, this process and its system. */
export interface System {
  readonly platform: NodeJS.Platform;
  wait(milliseconds: number): Promise<unknown>;
}

const thisSystem: System = { platform: process.platform, wait: (milliseconds) => setTimeout(milliseconds) };

/**
 * Runs an operation on a file or folder. On Windows, it is repeated for about ten seconds while another process has the
 * file open.
 */
export async function whenFree<T>(work: () => Promise<T>, { platform, wait }: System = thisSystem): Promise<T> {
  for (let attempt = 0; ; attempt++) {
    try {
      return await work();
    } catch (error) {
      const pause = PAUSES[attempt];
      if (platform !== 'win32' || pause === undefined || !PASSING.includes(String(codeOf(error)))) throw error;
      await wait(pause);
    }
  }
}

/** Renames a file or folder; a file replaces another one. Waits on Windows as {@link whenFree} does. */
export const move = (from: string, to: string): Promise<void> => whenFree(() => rename(from, to));

/** Removes a file or folder, if it exists. Waits on Windows as {@link whenFree} does. */
export const remove = (path: string): Promise<void> => whenFree(() => rm(path, { recursive: true, force: true }));

/** Renames as {@link move}, and blocks the thread meanwhile. */
export function moveSync(from: string, to: string, platform: NodeJS.Platform = process.platform): void {
  for (let attempt = 0; ; attempt++) {
    try {
      return renameSync(from, to);
    } catch (error) {
      const pause = PAUSES[attempt];
      if (platform !== 'win32' || pause === undefined || !PASSING.includes(String(codeOf(error)))) throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, pause);
    }
  }
}
