import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { chmod, cp, mkdir, mkdtemp, readdir, readFile, rm, truncate, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isWhetstoneError, type ErrorCode } from '@whetstone/core/contract';
import { createFolderLock } from '@whetstone/core/files';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { cacheFolder, findTensorflow, type InstallProgress, type Wheel } from './index.js';
import { damagedInstallations, installedFolder, installWheel, isInstalled } from './install-wheel.js';

// A `python3` that provides one file like pip and logs each request.
const fakePython = (served: string, log: string): string => `#!${process.execPath}
const { appendFileSync, copyFileSync, mkdirSync, readdirSync, rmSync } = require('node:fs');
const { basename, join } = require('node:path');
const parameters = process.argv.slice(2);
if (parameters.includes('--version')) { console.log('pip 99'); process.exit(0); }
if (parameters[0] === '-c') { console.log(process.env.FAKE_ANSWER ?? 'null'); process.exit(0); }
if (parameters.includes('--report')) { console.error('no such option: --report'); process.exit(2); }
appendFileSync(${JSON.stringify(log)}, parameters.join(' ') + '\\n');
if (process.env.FAKE_FAILURE) {
  console.error('WARNING: something\\nERROR: ' + process.env.FAKE_FAILURE);
  process.exit(1);
}
const destination = parameters[parameters.indexOf('--dest') + 1];
mkdirSync(destination, { recursive: true });
const served = ${JSON.stringify(served)};
const serve = () => copyFileSync(served, join(destination, basename(served)));
setTimeout(serve, Number(process.env.FAKE_DELAY ?? 0));
`;

/** Returns a zip archive with uncompressed entries, written from the format's specification (PKWARE APPNOTE 4.3). */
function zip(files: Readonly<Record<string, string>>): Buffer {
  const locals: Buffer[] = [];
  const centrals: Buffer[] = [];
  let offset = 0;
  for (const [name, text] of Object.entries(files)) {
    const path = Buffer.from(name);
    const data = Buffer.from(text);
    const common = Buffer.alloc(26);
    common.writeUInt16LE(20, 0);
    common.writeUInt32LE(data.length, 14);
    common.writeUInt32LE(data.length, 18);
    common.writeUInt16LE(path.length, 22);
    const tail = Buffer.alloc(14);
    tail.writeUInt32LE(offset, 10);
    locals.push(Buffer.from('PK\u0003\u0004'), common, path, data);
    centrals.push(Buffer.from('PK\u0001\u0002'), Buffer.from([20, 0]), common, tail, path);
    offset += 30 + path.length + data.length;
  }
  const directory = Buffer.concat(centrals);
  const end = Buffer.alloc(18);
  end.writeUInt16LE(Object.keys(files).length, 4);
  end.writeUInt16LE(Object.keys(files).length, 6);
  end.writeUInt32LE(directory.length, 8);
  end.writeUInt32LE(offset, 12);
  return Buffer.concat([...locals, directory, Buffer.from('PK\u0005\u0006'), end]);
}

let folder: string;
let cache: string;
let log: string;
let wheel: Wheel;
const environment = { ...process.env };

async function expectError(
  work: Promise<unknown>,
  code: ErrorCode,
): Promise<Error & { found?: string | undefined; hint?: string | undefined }> {
  const error = await work.then(
    () => null,
    (caught: unknown) => caught,
  );
  if (!isWhetstoneError(error)) throw new Error(`expected ${code}, got ${String(error)}`, { cause: error });
  expect(error.code).toBe(code);
  return error;
}
const timesFetched = async (): Promise<number> =>
  existsSync(log) ? (await readFile(log, 'utf8')).trim().split('\n').length : 0;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'whetstone-install-'));
  cache = join(folder, 'cache');
  log = join(folder, 'log');
  const archive = zip({ 'tiny/needed.txt': 'needed', 'tiny/other.txt': 'not needed' });
  const served = join(folder, 'tiny-1.0-py3-none-any.whl');
  await writeFile(served, archive);
  await mkdir(join(folder, 'bin'));
  await writeFile(join(folder, 'bin', 'python3'), fakePython(served, log));
  await chmod(join(folder, 'bin', 'python3'), 0o755);
  process.env['PATH'] = join(folder, 'bin');
  delete process.env['WHETSTONE_PYTHON'];
  delete process.env['WHETSTONE_TENSORFLOW_LIBRARY'];
  wheel = {
    name: 'tiny',
    version: '1.0',
    fileName: 'tiny-1.0-py3-none-any.whl',
    sha256: createHash('sha256').update(archive).digest('hex'),
    bytes: archive.length,
    keep: /^tiny\/needed\.txt$/,
  };
});
afterEach(async () => {
  process.env = { ...environment };
  await rm(folder, { recursive: true, force: true });
});

describe('installing a wheel', () => {
  test('unpacks the needed files, reports progress, deletes the wheel, and is done once', async () => {
    const seen: InstallProgress[] = [];
    const installed = await installWheel(wheel, { cache, onProgress: (progress) => seen.push(progress) });
    expect(installed).toBe(installedFolder(wheel, cache));
    expect(await readFile(join(installed, 'tiny/needed.txt'), 'utf8')).toBe('needed');
    expect(existsSync(join(installed, 'tiny/other.txt'))).toBe(false);
    expect([...new Set(seen.map(({ stage }) => stage))]).toEqual(['download', 'verify', 'unpack']);
    expect(seen.filter(({ stage }) => stage === 'unpack').at(-1)).toMatchObject({ doneBytes: 6, totalBytes: 6 });
    expect(await readdir(join(cache, 'wheels'))).toEqual([]);
    await installWheel(wheel, { cache });
    expect(await timesFetched()).toBe(1);
  });

  test('requests one wheel of one version and platform from pip', async () => {
    await installWheel({ ...wheel, target: { pythonVersion: '3.12', platform: 'manylinux_2_27_x86_64' } }, { cache });
    const requested = await readFile(log, 'utf8');
    expect(requested).toContain('--no-deps');
    expect(requested).toContain('--only-binary=:all: --python-version 3.12 --platform manylinux_2_27_x86_64');
    expect(requested).toContain('tiny==1.0');
  });

  test('refuses a file with a wrong checksum and removes it', async () => {
    const error = await expectError(installWheel({ ...wheel, sha256: '0'.repeat(64) }, { cache }), 'DOWNLOAD_FAILED');
    expect(error.message).toContain('checksum');
    expect(error.found).toContain(wheel.sha256);
    expect(await isInstalled(wheel, cache)).toBe(false);
    expect(await readdir(join(cache, 'wheels'))).toEqual([]);
  });

  test('reuses a complete wheel of an earlier attempt, and replaces an incomplete one', async () => {
    await mkdir(join(cache, 'wheels'), { recursive: true });
    const kept = join(cache, 'wheels', wheel.fileName);
    await writeFile(kept, await readFile(join(folder, wheel.fileName)));
    await installWheel(wheel, { cache });
    expect(await timesFetched()).toBe(0);

    await rm(installedFolder(wheel, cache), { recursive: true });
    await writeFile(kept, (await readFile(join(folder, wheel.fileName))).subarray(0, 40));
    await installWheel(wheel, { cache });
    expect(await timesFetched()).toBe(1);
  });

  test('repeats an installation that was killed or has a truncated file', async () => {
    await mkdir(join(cache, 'tiny-1.0.partial-abc'), { recursive: true });
    await installWheel(wheel, { cache });
    expect((await readdir(cache)).filter((name) => name.includes('partial'))).toEqual([]);
    await truncate(join(installedFolder(wheel, cache), 'tiny/needed.txt'), 3);
    expect(await isInstalled(wheel, cache)).toBe(false);
    await installWheel(wheel, { cache });
    expect(await readFile(join(installedFolder(wheel, cache), 'tiny/needed.txt'), 'utf8')).toBe('needed');
    expect(await timesFetched()).toBe(2);
  });

  test('fetches once if two installers run at once', async () => {
    process.env['FAKE_DELAY'] = '300';
    const messages: string[] = [];
    const options = { cache, onMessage: (message: string) => messages.push(message) };
    await Promise.all([installWheel(wheel, options), installWheel(wheel, options)]);
    expect(await timesFetched()).toBe(1);
    const waiting = messages.filter((message) => message.includes('Waiting'));
    expect(waiting).toEqual([
      expect.stringMatching(
        new RegExp(`^Another installation of the same files runs. Waiting for process ${process.pid} on .*since .*\\.`),
      ),
    ]);
    expect(messages.join()).not.toMatch(/\brun\b|output/);
  });

  test('takes over the lock of an installer that was killed', async () => {
    const locks = join(cache, 'locks', 'tiny-1.0');
    await mkdir(locks, { recursive: true });
    // Takes the lock as an installer does, and is killed. Its process id and start time are in the file.
    const lock = createFolderLock(locks, 'installation', () => undefined);
    await lock.take();
    const own = JSON.parse(await readFile(join(locks, '.run.lock'), 'utf8')) as object;
    await lock.release();
    const ended = spawnSync(process.execPath, ['--eval', '']).pid;
    await writeFile(join(locks, '.run.lock'), JSON.stringify({ ...own, pid: ended, token: 'ab' }));
    const messages: string[] = [];
    await installWheel(wheel, { cache, onMessage: (message) => messages.push(message) });
    expect(messages.join()).not.toContain('Waiting');
    expect(messages).toContainEqual(expect.stringMatching(/^The lock of .* was taken over: process \d+ on /));
    expect(await readdir(locks)).toEqual([]);
  });

  test('repairs a damaged installation', async () => {
    const installed = await installWheel(wheel, { cache });
    const [record, needed] = [join(installed, 'install.json'), join(installed, 'tiny/needed.txt')];
    const whole = join(folder, 'whole');
    await cp(installed, whole, { recursive: true });
    const damages: Readonly<Record<string, () => Promise<unknown>>> = {
      'a changed file of the same size': () => writeFile(needed, 'neeeed'),
      'no record': () => rm(record),
      'a folder as record': async () => rm(record).then(() => mkdir(record)),
      'zeros as record': () => writeFile(record, Buffer.alloc(100)),
      'a file as folder': async () => rm(installed, { recursive: true }).then(() => writeFile(installed, '')),
    };
    for (const [what, damage] of Object.entries(damages)) {
      await rm(installed, { recursive: true });
      await cp(whole, installed, { recursive: true });
      expect(await isInstalled(wheel, cache)).toBe(true);
      await damage();
      expect(await isInstalled(wheel, cache), what).toBe(false);
      const damaged = await damagedInstallations(cache, (name) => name.startsWith('tiny'));
      expect(
        damaged.map(({ name }) => name),
        what,
      ).toEqual(['tiny-1.0']);
    }
    await installWheel(wheel, { cache });
    expect(await isInstalled(wheel, cache)).toBe(true);
    expect(await readFile(needed, 'utf8')).toBe('needed');
  });

  test('a copied installation, whose files have other times, is compared by its checksums', async () => {
    const installed = await installWheel(wheel, { cache });
    await utimes(join(installed, 'tiny/needed.txt'), 1, 1);
    expect(await isInstalled(wheel, cache)).toBe(true);
    expect(await damagedInstallations(cache, (name) => name.startsWith('tiny'))).toEqual([]);
  });

  test('replaces folders in the place of downloads', async () => {
    for (const name of [wheel.fileName, `${wheel.fileName}.partial`])
      await mkdir(join(cache, 'wheels', name, 'content'), { recursive: true });
    await installWheel(wheel, { cache });
    expect(await isInstalled(wheel, cache)).toBe(true);
  });

  test('reports a cache that cannot be written, with what to do', async () => {
    await writeFile(cache, '');
    const error = await expectError(installWheel(wheel, { cache }), 'FILE_UNWRITABLE');
    expect(error.hint).toContain('WHETSTONE_CACHE');
  });

  test('reports a missing Python, and the backends that need none', async () => {
    process.env['PATH'] = join(folder, 'nothing');
    const error = await expectError(installWheel(wheel, { cache }), 'DOWNLOAD_FAILED');
    expect(error.found).toContain('python3: not found on the PATH');
    expect(error.hint).toContain('wasm');
  });

  test("reports pip's reason if pip fails", async () => {
    process.env['FAKE_FAILURE'] = 'No matching distribution found for tiny==1.0';
    const error = await expectError(installWheel(wheel, { cache }), 'DOWNLOAD_FAILED');
    expect(error.found).toBe('No matching distribution found for tiny==1.0');
  });

  test('refuses an unknown file', async () => {
    const error = await expectError(
      installWheel({ ...wheel, fileName: 'tiny-1.0-other.whl' }, { cache }),
      'DOWNLOAD_FAILED',
    );
    expect(error.found).toBe(wheel.fileName);
  });

  test('stops if it is aborted, and leaves no files', async () => {
    process.env['FAKE_DELAY'] = '20000';
    const controller = new AbortController();
    const work = installWheel(wheel, { cache, signal: controller.signal });
    setTimeout(() => controller.abort(), 300);
    await expectError(work, 'INTERRUPTED');
    expect(await readdir(join(cache, 'wheels'))).toEqual([]);
  });
});

describe('finding libtensorflow', () => {
  const library = process.platform === 'darwin' ? 'libtensorflow_cc.2.dylib' : 'libtensorflow_cc.so.2';

  test.skipIf(process.platform === 'win32')(
    'a configured folder comes first, and is not replaced if it has no library',
    async () => {
      await mkdir(join(folder, 'mine'));
      await writeFile(join(folder, 'mine', library), '');
      expect(await findTensorflow(join(folder, 'mine'), cache)).toMatchObject({
        folder: join(folder, 'mine'),
        source: 'configuration',
      });
      expect(await findTensorflow(join(folder, 'mine', library), cache)).toMatchObject({
        folder: join(folder, 'mine'),
      });
      const missing = await findTensorflow(join(folder, 'bin'), cache);
      expect('reasons' in missing && missing.reasons.join()).toContain(library);
      process.env['WHETSTONE_TENSORFLOW_LIBRARY'] = join(folder, 'mine');
      expect(await findTensorflow(null, cache)).toMatchObject({ source: 'environment' });
    },
  );

  test.skipIf(process.platform === 'win32')("Python's TensorFlow is used where it is installed", async () => {
    await mkdir(join(folder, 'site', 'tensorflow'), { recursive: true });
    await writeFile(join(folder, 'site', 'tensorflow', library), '');
    process.env['FAKE_ANSWER'] = JSON.stringify({ folders: [join(folder, 'site', 'tensorflow')], version: '2.99' });
    expect(await findTensorflow(null, cache)).toEqual({
      folder: join(folder, 'site', 'tensorflow'),
      source: 'python',
      version: '2.99',
    });
    process.env['FAKE_ANSWER'] = JSON.stringify({ folders: [], version: null });
    const missing = await findTensorflow(null, cache);
    expect('reasons' in missing && missing.reasons.join('; ')).toMatch(/backend install cpu.*no TensorFlow installed/);
  });
});

describe('the cache folder', () => {
  test('is WHETSTONE_CACHE, or in XDG_CACHE_HOME, or in the cache folder of the platform', () => {
    expect(cacheFolder({ WHETSTONE_CACHE: '/a', XDG_CACHE_HOME: '/b' }, 'linux', '/h')).toBe('/a');
    expect(cacheFolder({ XDG_CACHE_HOME: '/b' }, 'linux', '/h')).toBe(join('/b', 'whetstone'));
    expect(cacheFolder({}, 'linux', '/h')).toBe(join('/h', '.cache', 'whetstone'));
    expect(cacheFolder({}, 'darwin', '/h')).toBe(join('/h', 'Library', 'Caches', 'whetstone'));
    expect(cacheFolder({ LOCALAPPDATA: 'L' }, 'win32', '/h')).toContain('whetstone');
  });
});
