import { execFileSync } from 'node:child_process';
import { lstat, mkdir, mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { openSafetensors } from '../safetensors/index.js';
import { readConfigFile } from '../config/index.js';
import {
  checkRegular,
  exists,
  hashFile,
  isFile,
  namesIn,
  readText,
  readTextIfPresent,
  readTextSync,
  writeText,
} from './index.js';

const hasFifos = process.platform !== 'win32';

let folder = '';
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'whetstone-regular-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const readers: Readonly<Record<string, (file: string) => Promise<unknown>>> = {
  readText,
  readTextIfPresent,
  readTextSync: async (file) => readTextSync(file),
  hashFile,
  checkRegular,
  openSafetensors,
};

test.skipIf(!hasFifos).each(Object.keys(readers))('%s refuses a FIFO, a socket and a device by name', async (name) => {
  const read = readers[name];
  const fifo = join(folder, 'fifo');
  execFileSync('mkfifo', [fifo]);
  await expect(read?.(fifo)).rejects.toMatchObject({
    code: 'FILE_UNREADABLE',
    place: { file: fifo },
    found: 'a FIFO (named pipe)',
  });
  const socket = join(folder, 'socket');
  const server = createServer().listen(socket);
  await new Promise((resolve) => server.once('listening', resolve));
  await expect(read?.(socket)).rejects.toMatchObject({
    code: 'FILE_UNREADABLE',
    found: expect.stringContaining('socket') as string,
  });
  server.close();
  await expect(read?.('/dev/zero')).rejects.toMatchObject({ code: 'FILE_UNREADABLE', found: 'a device' });
  await expect(read?.(folder)).rejects.toMatchObject({ code: 'FILE_UNREADABLE', found: 'a folder' });
});

// Devices are not tried: a fault here would replace one.
test.skipIf(!hasFifos)('a file is not written over a FIFO or a socket, nor over a link to one', async () => {
  const [fifo, link, socket] = [join(folder, 'fifo'), join(folder, 'link'), join(folder, 'socket')];
  execFileSync('mkfifo', [fifo]);
  await symlink(fifo, link);
  const server = createServer().listen(socket);
  await new Promise((resolve) => server.once('listening', resolve));
  for (const path of [fifo, link, socket])
    await expect(writeText(path, 'text')).rejects.toMatchObject({ code: 'FILE_UNWRITABLE', place: { file: path } });
  server.close();
  expect(await readdir(folder)).toEqual(expect.arrayContaining(['fifo', 'link']));
  expect((await lstat(fifo)).isFIFO()).toBe(true);
  // A link to a file is replaced by the file.
  const [target, toFile] = [join(folder, 'target'), join(folder, 'to-file')];
  await writeFile(target, 'old');
  await symlink(target, toFile);
  await writeText(toFile, 'new');
  expect([await readText(target), await readText(toFile)]).toEqual(['old', 'new']);
});

test.skipIf(!hasFifos)('a configuration that is a FIFO is refused instead of waited for', async () => {
  const fifo = join(folder, 'run.json');
  execFileSync('mkfifo', [fifo]);
  await expect(readConfigFile(fifo)).rejects.toMatchObject({
    code: 'CONFIG_UNREADABLE',
    found: 'a FIFO (named pipe)',
  });
});

test('only a missing file or folder counts as absent', async () => {
  const file = join(folder, 'file');
  await writeFile(file, 'text');
  const below = join(file, 'below');
  expect([exists(file), exists(below), exists(join(folder, 'none'))]).toEqual([true, false, false]);
  expect(await readTextIfPresent(file)).toBe('text');
  expect([await readTextIfPresent(below), await readTextIfPresent(join(folder, 'none'))]).toEqual([null, null]);
  expect([await namesIn(folder), await namesIn(join(folder, 'none'))]).toEqual([['file'], []]);
  await mkdir(join(folder, 'inner'));
  expect([await isFile(file), await isFile(join(folder, 'inner')), await isFile(below)]).toEqual([true, false, false]);
  // A name that is too long cannot exist, but that is not what the system says.
  const unusable = join(folder, 'x'.repeat(5000));
  expect(() => exists(unusable)).toThrow(expect.objectContaining({ code: 'FILE_UNREADABLE' }) as Error);
  await expect(readTextIfPresent(unusable)).rejects.toMatchObject({ code: 'FILE_UNREADABLE' });
  await expect(namesIn(unusable)).rejects.toMatchObject({ code: 'FILE_UNREADABLE' });
});
