import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { makeFolder, removeStale, temporaryName } from './index.js';

let folder = '';
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'whetstone-files-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

test('temporary files of an ended process are removed; those of running processes and other paths remain', async () => {
  const path = join(folder, 'out');
  const own = temporaryName(path);
  // The id of a process that has ended.
  const { pid } = spawnSync(process.execPath, ['--version']);
  const dead = own.replace(`-${process.pid}-`, `-${pid}-`);
  // Another process has the id of the one that wrote it.
  const reused = own.replace(`-${process.pid}-`, `-${process.ppid}-`);
  const other = temporaryName(join(folder, 'other')).replace(`-${process.pid}-`, `-${pid}-`);
  for (const one of [own, dead, reused, other]) {
    await mkdir(one);
    await writeFile(join(one, 'weights'), 'half');
  }
  await removeStale(path);
  const kept = process.platform === 'linux' ? [own, other] : [own, reused, other];
  expect((await readdir(folder)).toSorted()).toEqual(kept.map((one) => basename(one)).toSorted());
});

test('a folder is created with its parents; creating it again succeeds', async () => {
  await makeFolder(join(folder, 'a', 'b', 'c'));
  await makeFolder(join(folder, 'a', 'b', 'c'));
  expect(existsSync(join(folder, 'a', 'b', 'c'))).toBe(true);
  await writeFile(join(folder, 'file'), '');
  await expect(makeFolder(join(folder, 'file'))).rejects.toMatchObject({ code: 'EEXIST' });
  await expect(makeFolder(join(folder, 'file', 'below'))).rejects.toMatchObject({ code: 'ENOTDIR' });
});

test.skipIf(process.platform !== 'linux')(
  'a file system that does not allow folders causes an error instead of an endless loop',
  async () => {
    await expect(makeFolder('/proc/whetstone/run')).rejects.toMatchObject({ code: 'ENOENT' });
  },
);
