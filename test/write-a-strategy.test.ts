import { mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readPage } from './docs/markdown.js';
import { execute, repository } from './support/execute.js';

// Runs the page from top to bottom, with the built packages, as `npm test` makes them.

const { blocks } = await readPage('docs/write-a-strategy.md');

describe('docs/write-a-strategy.md', () => {
  let folder = '';
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'whetstone-write-a-strategy-'));
    await symlink(join(repository, 'node_modules'), join(folder, 'node_modules'), 'junction');
    for (const { file, text } of blocks) if (file !== null) await writeFile(join(folder, file), text);
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  it('says of every block what it is', () => {
    expect(blocks.length).toBeGreaterThan(0);
    expect(blocks.filter(({ language, file }) => language !== 'sh' && file === null)).toEqual([]);
  });

  it.each(blocks.filter(({ language }) => language === 'sh').map(({ text }) => text.trim()))(
    '%s',
    async (command) => {
      const path = `${join(repository, 'node_modules/.bin')}${delimiter}${process.env['PATH'] ?? ''}`;
      // The page's own tests are a run of their own, not a part of this one.
      const environment = Object.fromEntries(
        Object.entries(process.env).filter(([name]) => !name.startsWith('VITEST')),
      );
      for (const line of command.split('\n')) {
        const [program = '', ...parameters] = line.split(' ');
        const result = await execute(program, parameters, folder, { ...environment, PATH: path, NODE_ENV: '' });
        expect(result, `${result.stdout}\n${result.stderr}`).toMatchObject({ code: 0 });
      }
    },
    300_000,
  );
});
