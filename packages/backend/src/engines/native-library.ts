import { closeSync, openSync } from 'node:fs';
import { isMainThread } from 'node:worker_threads';
import koffi from 'koffi';
import { libraryFileProblem } from './library-file.js';

/**
 * Loads a library and keeps it in the process until it ends. koffi closes libraries while Node shuts down, before their
 * exit handlers run: every process that used TensorFlow or XLA would end with a segmentation fault.
 *
 * @throws if the file is not a library for this machine
 */
export function pin(path: string, symbols: 'global' | 'local' = 'global'): void {
  const problem = libraryFileProblem(path);
  if (problem !== null) throw new Error(`${path}: ${problem}.`);
  if (process.platform === 'win32') {
    // Wide characters, because a path can have any. The flag searches the library's own folder for those it needs.
    koffi.load('kernel32.dll').func('void *LoadLibraryExW(const char16_t *, void *, uint32_t)')(path, null, 0x8);
    return;
  }
  const [lazy, global, keep] = process.platform === 'darwin' ? [0x1, 0x8, 0x80] : [0x1, 0x100, 0x1000];
  const flags = lazy | keep | (symbols === 'global' ? global : 0);
  for (const library of [null, 'libdl.so.2', 'libc.so.6']) {
    try {
      koffi.load(library).func('void *dlopen(const char *, int)')(path, flags);
      return;
    } catch {
      // This library does not export dlopen. The next one may.
    }
  }
}

/**
 * Runs `work` with the standard error stream redirected to the null device. Libraries print there while they are
 * loaded, before they can be configured. Worker threads do not redirect: the stream belongs to the process, and two
 * threads at once would restore the wrong one.
 */
export function withoutStderr(work: () => void): void {
  if (process.platform === 'win32' || !isMainThread) return work();
  const libc = koffi.load(null);
  const duplicate = libc.func('int dup(int)');
  const replace = libc.func('int dup2(int, int)');
  const close = libc.func('int close(int)');
  const saved = Number(duplicate(2));
  const nullDevice = openSync('/dev/null', 'w');
  replace(nullDevice, 2);
  try {
    work();
  } finally {
    replace(saved, 2);
    close(saved);
    closeSync(nullDevice);
  }
}
