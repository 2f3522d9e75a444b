import { readdirSync, rmSync, statSync, utimesSync } from 'node:fs';
import path from 'node:path';
import type { Json } from '@whetstone/core/contract';
import { saveStore } from './store-file.js';
import type { TokenStore } from './token-store.js';

/** What a cache of tokenised data may take on the disk before what was used longest ago is removed: 10 GB. */
const MOST_BYTES = 10e9;
/** A folder that was begun and never finished is removed after a day: until then another process may be writing it. */
const UNFINISHED_MS = 86_400_000;

interface Entry {
  readonly folder: string;
  readonly bytes: number;
  readonly used: number;
}

function entriesOf(cacheFolder: string): Entry[] {
  return readdirSync(cacheFolder, { withFileTypes: true }).flatMap((entry) => {
    if (!entry.isDirectory()) return [];
    const folder = path.join(cacheFolder, entry.name);
    const files = readdirSync(folder).map((file) => statSync(path.join(folder, file), { throwIfNoEntry: false }));
    return [
      {
        folder,
        bytes: files.reduce((sum, file) => sum + (file?.size ?? 0), 0),
        used: statSync(folder, { throwIfNoEntry: false })?.mtimeMs ?? 0,
      },
    ];
  });
}

/**
 * Removes from a cache what was used longest ago, until it is small enough; and what was never finished. `keep` stays.
 * What cannot be removed stays, too.
 */
export function trimCache(cacheFolder: string, keep: string, mostBytes = MOST_BYTES, now = Date.now()): void {
  const remove = (folder: string): void => {
    try {
      rmSync(folder, { recursive: true, force: true });
    } catch {
      // Another process may have it open, or had removed it first: the next run tries again.
    }
  };
  const entries = entriesOf(cacheFolder);
  const unfinished = entries.filter(({ folder }) => folder.endsWith('.part'));
  for (const { folder, used } of unfinished) if (now - used > UNFINISHED_MS) remove(folder);
  const whole = entries.filter((entry) => !unfinished.includes(entry)).sort((a, b) => a.used - b.used);
  let bytes = whole.reduce((sum, entry) => sum + entry.bytes, 0);
  for (const entry of whole) {
    if (bytes <= mostBytes) return;
    if (entry.folder === keep) continue;
    remove(entry.folder);
    bytes -= entry.bytes;
  }
}

/** Marks an entry as used now. */
export function touchEntry(folder: string): void {
  try {
    const now = new Date();
    utimesSync(folder, now, now);
  } catch {
    // A cache that can only be read is still one.
  }
}

/**
 * Saves a store into its cache and trims that. The cache is a convenience: what goes wrong (a full disk) is told, not
 * thrown.
 */
export function saveInCache(folder: string, store: TokenStore, details: Json): string | null {
  try {
    saveStore(folder, store, details);
    trimCache(path.dirname(folder), folder);
    return null;
  } catch (error) {
    return (error as Error).message;
  }
}
