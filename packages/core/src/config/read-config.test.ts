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
async function refusal(file: string): Promise<WhetstoneError> {
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

  it('says where the syntax is wrong', async () => {
    const error = await refusal(written('{\n  "a": 1,\n  "b" 2\n}'));
    expect([error.code, error.place?.line]).toEqual(['CONFIG_UNREADABLE', 3]);
  });

  it('refuses a key that stands twice, since one of the two would be lost', async () => {
    const error = await refusal(written('{ "a": { "x": 1,\n "x": 2 } }'));
    expect([error.message, error.place?.line]).toEqual(["The key 'x' stands twice in one object.", 2]);
  });

  it.each([
    ['', /empty|value expected/],
    ['// nothing', /empty|value expected/],
  ])('refuses a file without content: %j', async (text, message) => {
    expect((await refusal(written(text))).message).toMatch(message);
  });

  it('names a file that is not there, or is a folder', async () => {
    expect((await refusal(join(folder, 'none.json'))).message).toMatch(/does not exist/);
    expect((await refusal(folder)).message).toMatch(/cannot be read/);
  });
});
