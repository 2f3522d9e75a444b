import { readdirSync, rmSync, statSync, utimesSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import path from 'node:path';
import type { Json } from '@whetstone/core/contract';
import { messageOf } from '@whetstone/core/util';
import { openStore, saveStore } from './store-file.js';
import type { TokenStore } from './token-store.js';

/** The largest size of the cache: 10 GB. Beyond it, the least recently used entries are removed. */
const MOST_BYTES = 10e9;
/** The age at which unfinished folders are removed: one day. Younger ones may belong to another process. */
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
    try {
      const files = readdirSync(folder).map((file) => statSync(path.join(folder, file), { throwIfNoEntry: false }));
      const bytes = files.reduce((sum, file) => sum + (file?.size ?? 0), 0);
      return [{ folder, bytes, used: statSync(folder).mtimeMs }];
    } catch {
      // It belongs to another user, or another process has just removed it.
      return [];
    }
  });
}

/**
 * Removes unfinished entries, and the least recently used entries until the cache is small enough. `keep` is not
 * removed; entries that cannot be removed are skipped.
 */
export function trimCache(cacheFolder: string, keep: string, mostBytes = MOST_BYTES, now = Date.now()): void {
  const remove = (folder: string): void => {
    try {
      rmSync(folder, { recursive: true, force: true });
    } catch {
      // Another process may have it open or have removed it; the next run tries again.
    }
  };
  const entries = entriesOf(cacheFolder);
  const unfinished = entries.filter(({ folder }) => folder.endsWith('.part'));
  for (const { folder, used } of unfinished) if (now - used > UNFINISHED_MS) remove(folder);
  const complete = entries.filter((entry) => !unfinished.includes(entry)).sort((a, b) => a.used - b.used);
  let bytes = complete.reduce((sum, entry) => sum + entry.bytes, 0);
  for (const entry of complete) {
    if (bytes <= mostBytes) return;
    if (entry.folder === keep) continue;
    remove(entry.folder);
    bytes -= entry.bytes;
  }
}

/** Returns the entries of a cache of tokens that this version cannot read. */
export async function damagedStores(cacheFolder: string): Promise<readonly { name: string; reason: string }[]> {
  const names = await readdir(cacheFolder);
  return names
    .filter((name) => !name.endsWith('.part') && isDamaged(path.join(cacheFolder, name)))
    .map((name) => ({ name, reason: 'it is of another version, incomplete or damaged' }));
}

function isDamaged(folder: string): boolean {
  const opened = openStore(folder);
  opened?.close();
  return opened === null;
}

/** Marks an entry as used now. */
export function touchEntry(folder: string): void {
  try {
    const now = new Date();
    utimesSync(folder, now, now);
  } catch {
    // A read-only cache can be used, too.
  }
}

/**
 * Saves a store in the cache and trims the cache. Returns the error message if that fails, for example on a full disk:
 * the run continues without the cache.
 */
export function saveInCache(folder: string, store: TokenStore, details: Json): string | null {
  try {
    saveStore(folder, store, details);
  } catch (error) {
    return messageOf(error);
  }
  try {
    trimCache(path.dirname(folder), folder);
  } catch {
    // The entry is saved; the next run trims the cache.
  }
  return null;
}
