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

  /** Runs a program with the packages of this repository; returns the lines that it prints. */
  const linesOf = async (name: string, program: string): Promise<string[]> => {
    await writeFile(join(folder, name), program);
    const { stdout } = await run(process.execPath, [join(folder, name)], { cwd: folder });
    return stdout.trim().split('\n');
  };

  // The comment after a statement that prints is what it prints.
  test.each(['data', 'evaluation', 'models'])(
    'the program of %s prints what its comments say',
    async (name) => {
      const [program = ''] = await blocksOf(name, 'js');
      expect(program).toContain(`'@whetstone/${name}`);
      const said = [...program.matchAll(/console\.log\(.*\); \/\/ (.*)$/gm)].map((match) => match[1]);
      expect(said.length).toBeGreaterThan(0);
      expect(await linesOf(`${name}.mjs`, program)).toEqual(said);
    },
    60_000,
  );

  test('the program of core is a callback that stops a run once the loss is below its option', async () => {
    const [program = ''] = await blocksOf('core', 'js');
    await writeFile(join(folder, 'plugin.mjs'), program);
    const user = `
      import plugin from './plugin.mjs';
      const callback = plugin.create({ loss: 1 });
      for (const loss of [2, 1, 0.5]) {
        const reasons = [];
        callback.onStep({ loss }, { stop: (reason) => reasons.push(reason) });
        console.log(JSON.stringify(reasons));
      }
    `;
    expect(await linesOf('core.mjs', user)).toEqual(['[]', '[]', '["loss 0.500 is below 1"]']);
  }, 60_000);

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
