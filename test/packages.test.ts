import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import pluginList from '@whetstone/plugins';
import strategyList from '@whetstone/strategies';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

const root = fileURLToPath(new URL('..', import.meta.url));
const run = promisify(execFile);

describe('READMEs of packages', () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'whetstone-packages-'));
    await symlink(join(root, 'node_modules'), join(folder, 'node_modules'), 'junction');
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  const blocksOf = async (name: string, language: string): Promise<string[]> => {
    const text = await readFile(join(root, 'packages', name, 'README.md'), 'utf8');
    return [...text.matchAll(new RegExp(`^\`\`\`${language}\\n([\\s\\S]*?)^\`\`\``, 'gm'))].map(
      (match) => match[1] ?? '',
    );
  };

  // What a comment says of a line that prints is what it prints.
  test.each(['core', 'data', 'evaluation', 'models'])(
    'the program of %s runs and prints what it says',
    async (name) => {
      const [program = ''] = await blocksOf(name, 'js');
      expect(program).toContain(`'@whetstone/${name}`);
      await writeFile(join(folder, `${name}.mjs`), program);
      const { stdout } = await run(process.execPath, [join(folder, `${name}.mjs`)], { cwd: folder });
      const said = [...program.matchAll(/console\.log\(.*\); \/\/ (.*)$/gm)].map((match) => match[1]);
      if (said.length > 0) expect(stdout.trim().split('\n')).toEqual(said);
    },
    60_000,
  );

  test.each([
    ['plugins', pluginList],
    ['strategies', strategyList],
  ])('the configuration of %s names what the package has', async (name, own) => {
    const [block = '{}'] = await blocksOf(name, 'json');
    const used = Object.values(JSON.parse(block) as Record<string, unknown>)
      .flat()
      .map((use) => (typeof use === 'string' ? use : (use as { readonly use: string }).use));
    expect(used.length).toBeGreaterThan(0);
    expect(own.map((plugin) => plugin.name)).toEqual(expect.arrayContaining(used));
  });
});
