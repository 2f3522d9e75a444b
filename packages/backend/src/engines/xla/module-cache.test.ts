import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { damagedModules, openModuleCache, type ModuleCache } from './module-cache.js';

const built = fileURLToPath(new URL('../../../dist/engines/xla/module-cache.js', import.meta.url));
if (!existsSync(built)) console.warn('SKIPPED: the package is not built. Build it with: npm run build');

describe('the cache of compiled modules', () => {
  let folder = '';
  const open = (version = '1'): ModuleCache =>
    openModuleCache(
      join(folder, 'modules'),
      { path: join(folder, 'plugin.so'), version, device: 'cpu' },
      { warn: (message) => warnings.push(message) },
    );
  let warnings: string[] = [];
  const bytes = Uint8Array.from({ length: 1000 }, (_, index) => index % 251);

  beforeEach(() => {
    warnings = [];
    folder = mkdtempSync(join(tmpdir(), 'whetstone-modules-'));
    writeFileSync(join(folder, 'plugin.so'), 'a plugin');
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  test('returns saved bytes and leaves no temporary file', () => {
    const cache = open();
    const key = cache.keyOf('module');
    expect(cache.load(key)).toBeNull();
    cache.save(key, bytes);
    expect(Uint8Array.from(open().load(key) ?? [])).toEqual(bytes);
    expect(readdirSync(join(folder, 'modules'))).toEqual([`${key}.module`]);
  });

  test.each([
    ['truncated', (file: Buffer) => file.subarray(0, file.length - 7)],
    [
      'changed',
      (file: Buffer) => Buffer.from(file.map((byte, index) => (index === file.length - 1 ? byte ^ 1 : byte))),
    ],
    ['emptied', () => Buffer.alloc(0)],
    ['foreign', () => Buffer.from('other content that is long enough to contain a magic header and a digest of it')],
  ])('a file that was %s is removed and not used', (_, damage) => {
    const cache = open();
    const key = cache.keyOf('module');
    cache.save(key, bytes);
    const path = join(folder, 'modules', `${key}.module`);
    writeFileSync(path, damage(readFileSync(path)));
    expect(cache.load(key)).toBeNull();
    expect(readdirSync(join(folder, 'modules'))).toEqual([]);
  });

  test.each([
    ['a folder', (path: string) => mkdirSync(path)],
    ['the module of another key', (path: string) => copyFileSync(join(folder, 'modules', 'other.module'), path)],
    ['a FIFO', (path: string) => void execFileSync('mkfifo', [path])],
  ])('%s in the place of a file is not used, reported once, and replaced', (what, put) => {
    if (process.platform === 'win32' && what === 'a FIFO') return;
    const cache = open();
    cache.save('other', bytes);
    for (const key of ['one', 'two']) {
      put(join(folder, 'modules', `${key}.module`));
      expect(cache.load(key)).toBeNull();
      put(join(folder, 'modules', `${key}.module`));
      cache.save(key, bytes);
      expect(cache.load(key)).not.toBeNull();
    }
    expect(warnings).toHaveLength(1);
  });

  test.skipIf(process.platform === 'win32')('a damaged file that cannot be removed costs a compilation only', () => {
    const cache = open();
    cache.save('one', bytes);
    writeFileSync(join(folder, 'modules', 'one.module'), 'damaged');
    // Also for root: no entry of a file can be removed.
    renameSync(join(folder, 'modules'), join(folder, 'other'));
    writeFileSync(join(folder, 'modules'), '');
    expect(cache.load('one')).toBeNull();
    expect(() => cache.forget('one')).not.toThrow();
    expect(() => cache.save('one', bytes)).not.toThrow();
  });

  test('damaged files are named, and those of another version of the format are not', async () => {
    const cache = open();
    for (const key of ['changed', 'later', 'whole']) cache.save(key, bytes);
    const rewrite = (key: string, change: (file: Buffer) => Buffer): void => {
      const path = join(folder, 'modules', `${key}.module`);
      writeFileSync(path, change(readFileSync(path)));
    };
    rewrite('changed', (file) => file.subarray(0, -1));
    rewrite('later', (file) => Buffer.concat([Buffer.from('whetstone xla module 99\n'), file]));
    expect(await damagedModules(join(folder, 'modules'))).toEqual([
      { name: 'changed.module', reason: 'its checksum is wrong' },
    ]);
  });

  test('another version of the plugin has different keys', () => {
    expect(open('2').keyOf('module')).not.toBe(open('1').keyOf('module'));
  });

  test('removes the least recently used modules beyond its size, and old temporary files', () => {
    const cache = openModuleCache(
      join(folder, 'modules'),
      { path: join(folder, 'plugin.so'), version: '1', device: 'cpu' },
      { maxBytes: 6000 },
    );
    const names = Array.from({ length: 12 }, (_, index) => `module ${String(index).padStart(2, '0')}`);
    names.forEach((name, index) => {
      cache.save(name, bytes);
      utimesSync(join(folder, 'modules', `${name}.module`), index, index);
    });
    writeFileSync(join(folder, 'modules', 'old.partial'), bytes);
    utimesSync(join(folder, 'modules', 'old.partial'), 1, 1);
    writeFileSync(join(folder, 'modules', 'young.partial'), bytes);
    cache.save('latest', bytes);
    const files = readdirSync(join(folder, 'modules'));
    expect(files.filter((name) => name.endsWith('.module')).length).toBeLessThanOrEqual(7);
    expect(files).toContain('latest.module');
    expect(files).toContain('module 11.module');
    expect(files).not.toContain('module 00.module');
    expect(files).toContain('young.partial');
    expect(files).not.toContain('old.partial');
  });

  test.skipIf(!existsSync(built))(
    'two processes that are killed while they write the same modules leave complete files or none',
    { timeout: 120_000 },
    async () => {
      const large = 3_000_000;
      // A module's bytes depend on its name, so that the test detects a mixture of two.
      const script = `
        import { openModuleCache } from ${JSON.stringify(pathToFileURL(built).href)};
        const plugin = { path: ${JSON.stringify(join(folder, 'plugin.so'))}, version: '1', device: 'cpu' };
        const cache = openModuleCache(${JSON.stringify(join(folder, 'modules'))}, plugin);
        console.log('ready');
        for (let round = 0; ; round++) {
          const module = round % 5;
          cache.save(cache.keyOf(String(module)), new Uint8Array(${large}).fill(module));
        }`;
      // On a busy machine a writer may be killed before it creates the folder.
      mkdirSync(join(folder, 'modules'));
      const cache = open();
      let killedWhileWriting = 0;
      for (let round = 0; round < 8; round++) {
        const writers = Array.from({ length: 2 }, () =>
          spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['ignore', 'pipe', 'inherit'] }),
        );
        await Promise.all(writers.map((writer) => once(writer.stdout, 'data')));
        await setTimeout(Math.random() * 40);
        const ended = writers.map((writer) => once(writer, 'exit'));
        for (const writer of writers) writer.kill('SIGKILL');
        // Reads concurrently with the writers.
        for (let module = 0; module < 5; module++) cache.load(cache.keyOf(String(module)));
        await Promise.all(ended);
        const files = readdirSync(join(folder, 'modules'));
        killedWhileWriting += files.filter((name) => name.endsWith('.partial')).length;
        let complete = 0;
        for (let module = 0; module < 5; module++) {
          const found = cache.load(cache.keyOf(String(module)));
          if (found === null) continue;
          complete++;
          expect(found.length).toBe(large);
          expect(found.every((byte) => byte === module)).toBe(true);
        }
        // No file was corrupt, which `load` would have removed.
        expect(complete).toBe(files.filter((name) => name.endsWith('.module')).length);
      }
      expect(killedWhileWriting).toBeGreaterThan(0);
    },
  );

  test('ignores a folder that cannot be created', () => {
    writeFileSync(join(folder, 'modules'), 'in the way');
    const cache = open();
    cache.save('key', bytes);
    expect(cache.load('key')).toBeNull();
  });
});
