import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { WhetstoneError } from '../contract/index.js';
import { readConfigFile } from './read-config.js';

const folder = mkdtempSync(join(tmpdir(), 'whetstone-read-config-'));
afterAll(() => rmSync(folder, { recursive: true }));
const written = (text: string): string => {
  const file = join(folder, 'run.json');
  writeFileSync(file, text);
  return file;
};
async function rejection(file: string): Promise<WhetstoneError> {
  const error: unknown = await readConfigFile(file).catch((failure: unknown) => failure);
  if (error instanceof WhetstoneError) return error;
  throw new Error('was accepted');
}

describe('readConfigFile', () => {
  it('reads JSON with comments, trailing commas and a byte order mark', async () => {
    const raw = await readConfigFile(written('\uFEFF// mine\n{ "a": [1, { "b": 2 }], /* x */ }'));
    expect(raw.value).toEqual({ a: [1, { b: 2 }] });
    expect(raw.baseFolder).toBe(folder);
    expect(raw.locate(['a', 1, 'b'])).toEqual({ file: raw.file, line: 2, column: 14, path: 'a[1].b' });
    expect(raw.locate(['a', '7'])).toMatchObject({ line: 2, path: 'a[7]' });
  });

  it('reports the line of a syntax error', async () => {
    const error = await rejection(written('{\n  "a": 1,\n  "b" 2\n}'));
    expect([error.code, error.place?.line]).toEqual(['CONFIG_UNREADABLE', 3]);
  });

  it('rejects a repeated key, because one of the values would be lost', async () => {
    const error = await rejection(written('{ "a": { "x": 1,\n "x": 2 } }'));
    expect([error.message, error.place?.line]).toEqual(["The key 'x' occurs twice in one object.", 2]);
  });

  it.each([
    ['', /empty|value expected/],
    ['// nothing', /empty|value expected/],
  ])('rejects a file without content: %j', async (text, message) => {
    expect((await rejection(written(text))).message).toMatch(message);
  });

  it('reports a file that does not exist, or is a folder', async () => {
    expect((await rejection(join(folder, 'none.json'))).message).toMatch(/does not exist/);
    expect((await rejection(folder)).message).toMatch(/cannot be read/);
  });
});
