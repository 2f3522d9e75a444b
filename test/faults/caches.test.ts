import { execFile, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { openModuleCache } from '../../packages/backend/src/engines/xla/module-cache.js';
import { answerFrom } from '../../packages/data/src/augment/answer-cache.js';
import { createBatchSource } from '../../packages/data/src/batching/batch-source.js';
import { characterTokenizer, plainRenderer } from '../../packages/data/src/testing/fakes.js';
import { chat, sourceOf } from '../../packages/data/src/testing/sources.js';
import { withFault, type Fault } from '../support/faulty-files.js';
import { temporaryFolder } from '../support/temporary-folder.js';
import { cachesOf } from './caches.mjs';

// A cache never makes a run fail where computing without it would work, and never gives another result.

/** A cache: computes a result with it, from a cold or a warm folder. */
type Cached = (folder: string) => Promise<unknown>;

const caches: Readonly<Record<string, Cached>> = cachesOf({
  openModuleCache,
  answerFrom,
  createBatchSource,
  characterTokenizer,
  plainRenderer,
  chat,
  sourceOf,
});

const program = fileURLToPath(new URL('caches.mjs', import.meta.url));

async function filesIn(folder: string): Promise<readonly string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath ?? entry.path, entry.name));
}

const flip = (bytes: Buffer, at: number): Buffer =>
  Buffer.from(bytes.map((byte, index) => (index === at ? byte ^ 0x10 : byte)));

/** Ways to damage a file. */
const damages: Readonly<Record<string, (file: string, bytes: Buffer) => Promise<void>>> = {
  'a missing end': (file, bytes) => writeFile(file, bytes.subarray(0, -1)),
  'a missing half': (file, bytes) => writeFile(file, bytes.subarray(0, bytes.length >> 1)),
  'no bytes': (file) => writeFile(file, ''),
  zeros: (file, bytes) => writeFile(file, Buffer.alloc(bytes.length)),
  'a changed bit at the start': (file, bytes) => writeFile(file, flip(bytes, 0)),
  'a changed bit in the middle': (file, bytes) => writeFile(file, flip(bytes, bytes.length >> 1)),
  'a changed bit at the end': (file, bytes) => writeFile(file, flip(bytes, bytes.length - 1)),
  'other contents': (file) => writeFile(file, '{"format": 3, "samples": 1e9, "pages": [-1], "weights": 7}'),
  'no file': (file) => rm(file),
  'a folder in its place': async (file) => {
    await rm(file);
    await mkdir(file);
    await writeFile(join(file, 'content'), 'x');
  },
};

/** By default, one error and one cache in other processes; `npm run test:faults` tries all. */
const isComplete = process.env['WHETSTONE_TEST_FAULTS'] === 'all';
const kinds = isComplete ? (['ENOSPC', 'EIO', 'EACCES'] as const) : (['EIO'] as const);

/** Mounting needs root and a system that allows it. */
const canMount = spawnSync('unshare', ['-m', 'true']).status === 0;

describe.each(Object.entries(caches))('the cache of %s', (name, cached) => {
  it.each(Object.entries(damages))('gives the same result after %s of any file, and is repaired', async (_, damage) => {
    const root = await temporaryFolder();
    const whole = join(root, 'whole');
    const expected = await cached(whole);
    const files = await filesIn(whole);
    expect(files.length).toBeGreaterThan(0);
    for (const [index, file] of files.entries()) {
      const folder = join(root, String(index));
      await cp(whole, folder, { recursive: true });
      const target = join(folder, file.slice(whole.length));
      await damage(target, await readFile(target));
      expect(await cached(folder), file).toEqual(expected);
      // It was written again.
      expect(await readFile(target), file).toEqual(await readFile(file));
      expect(await cached(folder), file).toEqual(expected);
    }
  });

  it('gives the same result if its folder is a file', async () => {
    const root = await temporaryFolder();
    const expected = await cached(join(root, 'whole'));
    await writeFile(join(root, 'file'), '');
    expect(await cached(join(root, 'file'))).toEqual(expected);
  });

  it.each(kinds)('gives the same result after %s at any operation', async (kind) => {
    const root = await temporaryFolder();
    const whole = join(root, 'whole');
    const expected = await cached(whole);
    for (const isWarm of [false, true]) {
      for (let at = 0; ; at++) {
        const folder = join(root, `${kind}-${isWarm}-${at}`);
        if (isWarm) await cp(whole, folder, { recursive: true });
        const fault: Fault = { kind, at, lasting: at % 2 === 0 };
        const { result, failed } = await withFault(root, fault, () => cached(folder));
        expect(result, failed ?? 'no fault').toEqual({ value: expected });
        if (failed === null) break;
        expect(await cached(folder), failed).toEqual(expected);
      }
    }
  });

  if (!isComplete && name !== 'tokens') return;

  it.skipIf(!canMount)('gives the same result on a disk that is mounted read-only', async () => {
    const root = await temporaryFolder();
    const expected = await cached(join(root, 'warm'));
    await mkdir(join(root, 'cold'));
    const mount = 'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" && exec "$2" "$3" "$4" "$1"';
    for (const state of ['warm', 'cold']) {
      const parameters = ['-m', 'sh', '-c', mount, 'sh', join(root, state), process.execPath, program, name];
      const { stdout } = await promisify(execFile)('unshare', parameters);
      expect(JSON.parse(stdout), state).toEqual(expected);
    }
    expect(await readdir(join(root, 'cold'))).toEqual([]);
  });

  it('is filled by several processes at once, one of which is killed', async () => {
    const root = await temporaryFolder();
    const folder = join(root, 'cache');
    const expected = await cached(join(root, 'whole'));
    const stdio = ['ignore', 'pipe', 'inherit'] as const;
    const killed = spawn(process.execPath, [program, name, folder, 'forever'], { stdio: [...stdio] });
    await once(killed.stdout ?? killed, 'data');
    const running = Promise.all([1, 2].map(() => promisify(execFile)(process.execPath, [program, name, folder])));
    killed.kill('SIGKILL');
    for (const { stdout } of await running) expect(JSON.parse(stdout)).toEqual(expected);
    expect(await cached(folder)).toEqual(expected);
  });
});
