import { closeSync, openSync } from 'node:fs';
import { isMainThread } from 'node:worker_threads';
import koffi from 'koffi';
import { libraryFileProblem } from './library-file.js';

/**
 * Keeps a library in the process for good. koffi closes libraries while Node shuts down, before the library's exit
 * handlers run: without this, every process that used TensorFlow or XLA would end in a segmentation fault.
 */
export function pin(path: string, symbols: 'global' | 'local' = 'global'): void {
  const problem = libraryFileProblem(path);
  if (problem !== null) throw new Error(`${path}: ${problem}.`);
  if (process.platform === 'win32') {
    koffi.load('kernel32.dll').func('void *LoadLibraryA(const char *)')(path);
    return;
  }
  const [lazy, global, keep] = process.platform === 'darwin' ? [0x1, 0x8, 0x80] : [0x1, 0x100, 0x1000];
  const flags = lazy | keep | (symbols === 'global' ? global : 0);
  for (const holder of [null, 'libdl.so.2', 'libc.so.6']) {
    try {
      koffi.load(holder).func('void *dlopen(const char *, int)')(path, flags);
      return;
    } catch {
      // This library does not export dlopen; the next one may.
    }
  }
}

/**
 * Runs `work` with the standard error stream closed to native code: these libraries greet there while they are being
 * loaded, before they can be told not to. The stream is the whole process's, so that worker threads leave it alone: of
 * two that took it and gave it back across each other, the second would give back none.
 */
export function unheard(work: () => void): void {
  if (process.platform === 'win32' || !isMainThread) return work();
  const libc = koffi.load(null);
  const duplicate = libc.func('int dup(int)');
  const replace = libc.func('int dup2(int, int)');
  const close = libc.func('int close(int)');
  const saved = Number(duplicate(2));
  const nowhere = openSync('/dev/null', 'w');
  replace(nowhere, 2);
  try {
    work();
  } finally {
    replace(saved, 2);
    close(saved);
    closeSync(nowhere);
  }
}
