import { execFileSync } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { openSafetensors } from '../safetensors/index.js';
import { readConfigFile } from '../config/index.js';
import { checkRegular, exists, hashFile, isFile, namesIn, readText, readTextIfPresent, readTextSync } from './index.js';

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
