import { mkdtemp, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path, { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { isWithin } from './within.js';
import { move, moveSync, remove, whenFree, type System } from './rename.js';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'whetstone-rename-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const failing = (code: string, times: number): (() => Promise<string>) => {
  let left = times;
  return async () => {
    if (left-- > 0) throw Object.assign(new Error(code), { code });
    return 'done';
  };
};

/** A system that records the pauses instead of waiting. */
const systemOf = (platform: NodeJS.Platform): System & { readonly pauses: number[] } => {
  const pauses: number[] = [];
  return { platform, pauses, wait: async (milliseconds) => void pauses.push(milliseconds) };
};

describe('an operation on a file that another process has open', () => {
  test.each(['EPERM', 'EACCES', 'EBUSY'])('is repeated on Windows after %s, with growing pauses', async (code) => {
    const system = systemOf('win32');
    expect(await whenFree(failing(code, 4), system)).toBe('done');
    expect(system.pauses).toHaveLength(4);
    expect(system.pauses).toEqual(system.pauses.toSorted((a, b) => a - b));
  });

  test('fails on Windows after about ten seconds', async () => {
    const system = systemOf('win32');
    await expect(whenFree(failing('EBUSY', Infinity), system)).rejects.toThrow('EBUSY');
    const seconds = system.pauses.reduce((sum, pause) => sum + pause, 0) / 1000;
    expect(seconds).toBeGreaterThan(8);
    expect(seconds).toBeLessThan(12);
  });

  test('fails at once after another error, and on other systems', async () => {
    for (const [platform, code] of [
      ['win32', 'ENOENT'],
      ['win32', 'ENOSPC'],
      ['linux', 'EBUSY'],
      ['darwin', 'EPERM'],
    ] as const) {
      const system = systemOf(platform);
      await expect(whenFree(failing(code, 1), system)).rejects.toThrow(code);
      expect(system.pauses).toEqual([]);
    }
  });
});

test('a file replaces another, a folder is renamed and removed', async () => {
  await writeFile(join(folder, 'new'), 'new');
  await writeFile(join(folder, 'old'), 'old');
  await move(join(folder, 'new'), join(folder, 'old'));
  expect(await readFile(join(folder, 'old'), 'utf8')).toBe('new');
  moveSync(join(folder, 'old'), join(folder, 'again'));
  expect(await readFile(join(folder, 'again'), 'utf8')).toBe('new');
  expect(() => moveSync(join(folder, 'old'), join(folder, 'again'), 'win32')).toThrow('ENOENT');
  await mkdir(join(folder, 'a', 'b'), { recursive: true });
  await remove(join(folder, 'a'));
  await remove(join(folder, 'a'));
  await expect(readFile(join(folder, 'a'))).rejects.toThrow('ENOENT');
});

test.each([
  [path.posix, '/runs/a', '/runs/a', true],
  [path.posix, '/runs/a', '/runs/a/checkpoint-1', true],
  [path.posix, '/runs/a', '/runs/a/..b', true],
  [path.posix, '/runs/a', '/runs', false],
  [path.posix, '/runs/a', '/runs/ab', false],
  [path.win32, 'C:\\runs\\a', 'C:\\runs\\a\\checkpoint-1', true],
  [path.win32, 'C:\\runs\\a', 'c:\\Runs\\A\\x', true],
  [path.win32, 'C:\\runs\\a', 'C:/runs/a/x', true],
  [path.win32, 'C:\\runs\\a', 'C:\\runs', false],
  // Another drive: there is no relative path.
  [path.win32, 'C:\\runs\\a', 'D:\\runs\\a', false],
  [path.win32, 'C:\\', '\\\\server\\share\\x', false],
])('%# within: %s %s', (api, parent, child, expected) => {
  expect(isWithin(parent, child, api)).toBe(expected);
});
