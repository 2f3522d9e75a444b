import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { openModuleCache, type ModuleCache } from './module-cache.js';

describe('the cache of compiled modules', () => {
  let folder = '';
  const open = (version = '1'): ModuleCache => openModuleCache(join(folder, 'modules'), { path: join(folder, 'plugin.so'), version, device: 'cpu' });
  const bytes = Uint8Array.from({ length: 1000 }, (_, index) => index % 251);

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'whetstone-modules-'));
    writeFileSync(join(folder, 'plugin.so'), 'a plugin');
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  test('gives back what was saved, and leaves no temporary file', () => {
    const cache = open();
    const key = cache.keyOf('module');
    expect(cache.load(key)).toBeNull();
    cache.save(key, bytes);
    expect(Uint8Array.from(open().load(key) ?? [])).toEqual(bytes);
    expect(readdirSync(join(folder, 'modules'))).toEqual([`${key}.module`]);
  });

  test.each([
    ['cut', (file: Buffer) => file.subarray(0, file.length - 7)],
    ['changed', (file: Buffer) => Buffer.from(file.map((byte, index) => (index === file.length - 1 ? byte ^ 1 : byte)))],
    ['emptied', () => Buffer.alloc(0)],
    ['foreign', () => Buffer.from('something else altogether, and long enough to hold a mark and a digest of it')],
  ])('a file that was %s is not used, and goes', (_, damage) => {
    const cache = open();
    const key = cache.keyOf('module');
    cache.save(key, bytes);
    const path = join(folder, 'modules', `${key}.module`);
    writeFileSync(path, damage(readFileSync(path)));
    expect(cache.load(key)).toBeNull();
    expect(readdirSync(join(folder, 'modules'))).toEqual([]);
  });

  test('another version of the plugin has other keys', () => {
    expect(open('2').keyOf('module')).not.toBe(open('1').keyOf('module'));
  });

  test('a folder that cannot be made stops nobody', () => {
    writeFileSync(join(folder, 'modules'), 'in the way');
    const cache = open();
    cache.save('key', bytes);
    expect(cache.load('key')).toBeNull();
  });
});
