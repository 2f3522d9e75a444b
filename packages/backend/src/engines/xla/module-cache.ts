import { createHash, randomUUID } from 'node:crypto';
import {
  closeSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeSync,
} from 'node:fs';
import { cpus } from 'node:os';
import { join } from 'node:path';

/**
 * Compiled modules on disk, so that a second process need not compile them again. A file holds a mark, the SHA-256 of
 * what follows, and the plugin's bytes; it is written under a temporary name and renamed, so that writers beside each
 * other and a kill leave whole files or none. What a power failure leaves is told by its digest: nothing waits for the
 * disk. Whatever is wrong with the folder only costs a compilation.
 */
export interface ModuleCache {
  /** Name of a module's file. */
  keyOf(text: string): string;
  load(key: string): Uint8Array | null;
  save(key: string, bytes: Uint8Array): void;
  /** Removes a file that turned out to be of no use. */
  forget(key: string): void;
}

const MARK = Buffer.from('whetstone xla module 1\n');
const DIGEST = 32;
/** More than this on disk, and what was used longest ago goes. */
const MOST_BYTES = 2 ** 31;
const suffix = '.module';

const digestOf = (bytes: Uint8Array): Buffer => createHash('sha256').update(bytes).digest();

/** What the machine's instructions are: code compiled for others would end the process. */
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

/** The cache in a folder, for one plugin: its file, its versions and its device are part of every key. */
export function openModuleCache(
  folder: string,
  plugin: { readonly path: string; readonly version: string; readonly device: string },
  mostBytes: number = MOST_BYTES,
): ModuleCache {
  const { size, mtimeMs } = statSync(plugin.path);
  const place = [
    String(size),
    String(mtimeMs),
    plugin.version,
    plugin.device,
    processorFeatures(),
    process.env['XLA_FLAGS'] ?? '',
  ].join('\n');
  const pathOf = (key: string): string => join(folder, key + suffix);
  /** Bytes written since the folder was last looked through; at first nobody knows what is there. */
  let written = Infinity;

  const forget = (key: string): void => rmSync(pathOf(key), { force: true });
  return {
    forget,
    keyOf: (text) => createHash('sha256').update(place).update('\0').update(text).digest('hex'),
    load: (key) => {
      let file: Buffer;
      try {
        file = readFileSync(pathOf(key));
      } catch {
        return null;
      }
      const payload = file.subarray(MARK.length + DIGEST);
      if (
        !file.subarray(0, MARK.length).equals(MARK) ||
        !digestOf(payload).equals(file.subarray(MARK.length, MARK.length + DIGEST))
      ) {
        forget(key);
        return null;
      }
      attempt(() => utimesSync(pathOf(key), new Date(), new Date()));
      return payload;
    },
    save: (key, bytes) =>
      attempt(() => {
        mkdirSync(folder, { recursive: true });
        if (written > mostBytes / 8) {
          prune(folder, mostBytes - bytes.length);
          written = 0;
        }
        written += bytes.length;
        const temporary = join(folder, `${key}.${randomUUID()}.partial`);
        try {
          const handle = openSync(temporary, 'wx');
          try {
            for (const part of [MARK, digestOf(bytes), bytes])
              for (let from = 0; from < part.length;) from += writeSync(handle, part, from);
          } finally {
            closeSync(handle);
          }
          renameSync(temporary, pathOf(key));
        } finally {
          rmSync(temporary, { force: true });
        }
      }),
  };
}

/** A cache that cannot be written is no reason to stop. */
function attempt(work: () => void): void {
  try {
    work();
  } catch {
    // A full disk, a folder of somebody else's: the module is compiled again next time.
  }
}

const STALE_MILLISECONDS = 3_600_000;

/** Removes what killed writers left an hour ago, and what was used longest ago of what is more than `mostBytes`. */
function prune(folder: string, mostBytes: number): void {
  const files = readdirSync(folder).flatMap((name) => {
    const path = join(folder, name);
    const found = statSync(path, { throwIfNoEntry: false });
    return found === undefined ? [] : [{ path, bytes: found.size, used: found.mtimeMs, whole: name.endsWith(suffix) }];
  });
  for (const { path, used, whole } of files)
    if (!whole && path.endsWith('.partial') && Date.now() - used > STALE_MILLISECONDS) rmSync(path, { force: true });
  let total = 0;
  for (const { path, bytes } of files.filter(({ whole }) => whole).sort((a, b) => b.used - a.used)) {
    total += bytes;
    if (total > mostBytes) rmSync(path, { force: true });
  }
}
