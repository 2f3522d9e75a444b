import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { readConfig } from './config-module.js';

const folder = mkdtempSync(join(tmpdir(), 'whetstone-config-module-'));
afterAll(() => rmSync(folder, { recursive: true }));
const written = (name: string, text: string): string => {
  writeFileSync(join(folder, name), text);
  return join(folder, name);
};
const shared = { whetstone: { defineConfig: (config: unknown) => config } };

describe('readConfig', () => {
  it('reads the default export of TypeScript, of an ES module and of a CommonJS module', async () => {
    const typed = written(
      'run.config.ts',
      "import { defineConfig } from 'whetstone';\nconst rank: number = 4;\n" +
        'export default defineConfig({ a: [{ rank }] });\n',
    );
    const raw = await readConfig(typed, shared);
    expect(raw).toMatchObject({ value: { a: [{ rank: 4 }] }, file: typed, baseFolder: folder });
    expect(raw.locate(['a', 0, 'rank'])).toEqual({ file: typed, path: 'a[0].rank' });
    expect((await readConfig(written('run.mjs', 'export default { b: 1 };'))).value).toEqual({ b: 1 });
    expect((await readConfig(written('run.cjs', 'module.exports = { c: 1 };'))).value).toEqual({ c: 1 });
    expect((await readConfig(written('run.json', '{ "d": 1 }'))).value).toEqual({ d: 1 });
  });

  it('starts relative paths from its baseFolder', async () => {
    const raw = await readConfig(written('base.mjs', "export default { baseFolder: './inner' };"));
    expect(raw.baseFolder).toBe(join(folder, 'inner'));
  });

  it.each([
    ['missing.ts', null, 'does not exist'],
    ['throws.ts', "throw new Error('no such model');", 'cannot be executed: no such model'],
    ['function.ts', 'export default () => ({});', 'exports a function'],
    ['inner.ts', 'export default { callbacks: [() => 1] };', 'callbacks[0] is a function'],
  ])('reports what is wrong with %s', async (name, text, message) => {
    const file = text === null ? join(folder, name) : written(name, text);
    await expect(readConfig(file)).rejects.toMatchObject({
      message: expect.stringContaining(message) as string,
      place: { file },
      exitCode: 2,
    });
  });
});
