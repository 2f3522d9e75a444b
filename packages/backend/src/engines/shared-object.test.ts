import { copyFileSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { refuseBroken } from './shared-object.js';

describe.skipIf(process.platform !== 'linux')('a shared library is looked at before it is loaded', () => {
  let folder = '';
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'whetstone-library-'));
  });
  afterAll(() => rmSync(folder, { recursive: true }));
  // Node itself is an ELF file as libraries are.
  const copy = (name: string): string => {
    const path = join(folder, name);
    copyFileSync(process.execPath, path);
    return path;
  };

  test('a whole one passes', () => {
    expect(() => refuseBroken(process.execPath)).not.toThrow();
  });

  test('one that was cut short, in the middle or in its head', () => {
    const path = copy('cut');
    truncateSync(path, 1_000_000);
    expect(() => refuseBroken(path)).toThrow(/cut short: it has 1000000 of at least \d+ bytes/);
    truncateSync(path, 80);
    expect(() => refuseBroken(path)).toThrow(/cut short/);
  });

  test('one for another processor, and what is none', () => {
    expect(() => refuseBroken(process.execPath, 'linux', process.arch === 'arm64' ? 'x64' : 'arm64')).toThrow(/another kind of processor/);
    const path = join(folder, 'text');
    writeFileSync(path, 'text'.repeat(100));
    expect(() => refuseBroken(path)).toThrow(/no shared library/);
    writeFileSync(path, readFileSync(process.execPath).subarray(0, 10));
    expect(() => refuseBroken(path)).toThrow(/no shared library/);
  });
});
