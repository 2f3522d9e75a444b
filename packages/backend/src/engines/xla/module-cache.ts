import { createHash, randomUUID } from 'node:crypto';
import {
  closeSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeSync,
} from 'node:fs';
import { readdir } from 'node:fs/promises';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { moveSync } from '@whetstone/core/files';

/**
 * Compiled modules on disk, so that other processes do not compile them again. A file holds a magic header, the SHA-256
 * of its key and the rest, and the plugin's bytes. It is written under a temporary name and renamed, so that concurrent
 * or killed writers leave complete files or none. Writes are not synced: the digest detects what a power failure
 * leaves. An unusable folder only costs a compilation.
 */
export interface ModuleCache {
  /** Returns the key of a module's text: the name of its file. */
  keyOf(text: string): string;
  /** Returns the module's bytes, or null if they are missing or corrupt. */
  load(key: string): Uint8Array | null;
  save(key: string, bytes: Uint8Array): void;
  /** Removes a file that the plugin could not load. */
  forget(key: string): void;
}

const FORMAT = 'whetstone xla module ';
const MAGIC = Buffer.from(`${FORMAT}2\n`);
const DIGEST_BYTES = 32;
/** Size of the folder beyond which the least recently used modules are removed. */
const MAX_BYTES = 2 ** 31;
const suffix = '.module';

/** Returns the digest of a module with its key: a file under the name of another module is damaged, too. */
const digestOf = (key: string, bytes: Uint8Array): Buffer =>
  createHash('sha256').update(key).update('\0').update(bytes).digest();

/** Returns the bytes of an entry; null if there is none. What is not a file is never opened: a FIFO would wait. */
function readEntry(path: string): Buffer | 'not a file' | null {
  try {
    const found = statSync(path, { throwIfNoEntry: false });
    if (found === undefined) return null;
    return found.isFile() ? readFileSync(path) : 'not a file';
  } catch {
    return null;
  }
}

/** Returns the module in a file; null if the file is damaged. */
function payloadOf(key: string, file: Buffer): Buffer | null {
  const payload = file.subarray(MAGIC.length + DIGEST_BYTES);
  const isWhole =
    file.subarray(0, MAGIC.length).equals(MAGIC) &&
    digestOf(key, payload).equals(file.subarray(MAGIC.length, MAGIC.length + DIGEST_BYTES));
  return isWhole ? payload : null;
}

/** Returns whether a file is a module in the format of another version. */
const isOtherVersion = (file: Buffer): boolean =>
  file.subarray(0, FORMAT.length).equals(Buffer.from(FORMAT)) && !file.subarray(0, MAGIC.length).equals(MAGIC);

/** Returns the files of a cache of modules that are damaged. Those of other versions are not: no process reads them. */
export async function damagedModules(folder: string): Promise<readonly { name: string; reason: string }[]> {
  const damaged: { name: string; reason: string }[] = [];
  for (const name of await readdir(folder)) {
    if (!name.endsWith(suffix)) continue;
    const file = readEntry(join(folder, name));
    if (file === null || file === 'not a file') damaged.push({ name, reason: 'it cannot be read' });
    else if (payloadOf(name.slice(0, -suffix.length), file) === null && !isOtherVersion(file))
      damaged.push({ name, reason: 'its checksum is wrong' });
  }
  return damaged;
}

/** Returns the processor's model and instruction sets. Code for other instructions would end the process. */
function processorFeatures(): string {
  const model = `${process.platform}-${process.arch} ${cpus()[0]?.model ?? ''}`;
  if (process.platform !== 'linux') return model;
  try {
    const lines = readFileSync('/proc/cpuinfo', 'utf8').split('\n');
    return `${model} ${lines.find((line) => /^(flags|Features)\s*:/.test(line)) ?? ''}`;
  } catch {
    return model;
  }
}

/**
 * Opens the cache in a folder for one plugin. The format, and the plugin's file, version and device are part of
 * every key.
 */
export function openModuleCache(
  folder: string,
  plugin: { readonly path: string; readonly version: string; readonly device: string },
  {
    maxBytes = MAX_BYTES,
    warn = console.warn,
  }: { readonly maxBytes?: number; readonly warn?: (message: string) => void } = {},
): ModuleCache {
  const { size, mtimeMs } = statSync(plugin.path);
  const environment = [
    MAGIC.toString(),
    String(size),
    String(mtimeMs),
    plugin.version,
    plugin.device,
    processorFeatures(),
    process.env['XLA_FLAGS'] ?? '',
  ].join('\n');
  const pathOf = (key: string): string => join(folder, key + suffix);
  /** Bytes written since the folder was last pruned. Infinite at first: its size is not known. */
  let written = Infinity;

  const forget = (key: string): void => attempt(() => rmSync(pathOf(key), { recursive: true, force: true }));
  let hasWarned = false;
  const warnOnce = (message: string): void => {
    if (!hasWarned) warn(message);
    hasWarned = true;
  };
  return {
    forget,
    keyOf: (text) => createHash('sha256').update(environment).update('\0').update(text).digest('hex'),
    load: (key) => {
      const file = readEntry(pathOf(key));
      if (file === null) return null;
      const payload = file === 'not a file' ? null : payloadOf(key, file);
      if (payload === null) {
        warnOnce(`A compiled module in ${folder} is damaged. It is compiled again.`);
        forget(key);
        return null;
      }
      attempt(() => utimesSync(pathOf(key), new Date(), new Date()));
      return payload;
    },
    save: (key, bytes) =>
      attempt(() => {
        mkdirSync(folder, { recursive: true });
        if (written > maxBytes / 8) {
          prune(folder, maxBytes - bytes.length);
          written = 0;
        }
        written += bytes.length;
        const temporary = join(folder, `${key}.${randomUUID()}.partial`);
        try {
          const handle = openSync(temporary, 'wx');
          try {
            for (const section of [MAGIC, digestOf(key, bytes), bytes])
              for (let from = 0; from < section.length;) from += writeSync(handle, section, from);
          } finally {
            closeSync(handle);
          }
          if (statSync(pathOf(key), { throwIfNoEntry: false })?.isDirectory() === true) forget(key);
          moveSync(temporary, pathOf(key));
        } finally {
          rmSync(temporary, { force: true });
        }
      }),
  };
}

/** Runs `work` and ignores its errors: a cache that cannot be written must not stop the run. */
function attempt(work: () => void): void {
  try {
    work();
  } catch {
    // For example a full disk. The module is compiled again next time.
  }
}

const STALE_MILLISECONDS = 3_600_000;

/**
 * Removes temporary files older than an hour and, beyond `maxBytes`, the least recently used modules. Entries that
 * cannot be read or removed are skipped.
 */
function prune(folder: string, maxBytes: number): void {
  const remove = (path: string): void => attempt(() => rmSync(path, { recursive: true, force: true }));
  const files = readdirSync(folder).flatMap((name) => {
    const path = join(folder, name);
    try {
      const { size, mtimeMs } = statSync(path);
      return [{ path, bytes: size, used: mtimeMs, complete: name.endsWith(suffix) }];
    } catch {
      return [];
    }
  });
  for (const { path, used, complete } of files)
    if (!complete && path.endsWith('.partial') && Date.now() - used > STALE_MILLISECONDS) remove(path);
  let total = 0;
  for (const { path, bytes } of files.filter(({ complete }) => complete).sort((a, b) => b.used - a.used)) {
    total += bytes;
    if (total > maxBytes) remove(path);
  }
}
