import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { execute, repository } from './support/execute.js';
import { temporaryFolder } from './support/temporary-folder.js';

const run = (...parameters: string[]) =>
  execute(process.execPath, [join(repository, 'scripts/third-party-licenses.mjs'), ...parameters], repository);

/** Runs the script on a lock file of one package of ours with these dependencies, and answers what it wrote. */
async function listOf(licenses: Readonly<Record<string, string | undefined>>) {
  const folder = await temporaryFolder();
  const [lock, out] = [join(folder, 'package-lock.json'), join(folder, 'list.md')];
  const names = Object.keys(licenses);
  const packages = {
    '': {},
    'packages/ours': { dependencies: { [names[0] ?? '']: '1.0.0' } },
    // Each depends on the next one, and the last one is found beside the first.
    ...Object.fromEntries(
      names.map((name, index) => [
        `node_modules/${name}`,
        { version: '1.0.0', license: licenses[name], dependencies: { [names[index + 1] ?? 'nothing']: '*' } },
      ]),
    ),
    'node_modules/of-development': { version: '1.0.0', license: 'GPL-3.0' },
  };
  await writeFile(lock, JSON.stringify({ packages }));
  return { ...(await run('--lock', lock, '--out', out)), text: await readFile(out, 'utf8').catch(() => '') };
}

describe('scripts/third-party-licenses.mjs', () => {
  it('has written the committed list', async () => {
    const { code, stderr } = await run('--check');
    expect(code, stderr).toBe(0);
  });

  it('lists what packages depend on, and what that depends on, but no tools', async () => {
    const { code, text } = await listOf({ first: 'MIT', second: '(GPL-3.0 OR ISC)', third: 'MIT AND BSD-3-Clause' });
    expect(code).toBe(0);
    expect([...text.matchAll(/^\| \[(\S+)\].* \| (.+) \|$/gm)].map(([, name, license]) => [name, license])).toEqual([
      ['first', 'MIT'],
      ['second', '(GPL-3.0 OR ISC)'],
      ['third', 'MIT AND BSD-3-Clause'],
    ]);
  });

  it.each([
    ['SSPL-1.0', 'SSPL-1.0'],
    ['MIT AND GPL-3.0', 'MIT AND GPL-3.0'],
    [undefined, 'no licence'],
  ])('refuses the licence %s', async (license, shown) => {
    const { code, stderr, text } = await listOf({ first: 'MIT', second: license });
    expect(code).toBe(1);
    expect(stderr).toContain(`- second 1.0.0: ${shown}\n`);
    expect(text).toBe('');
  });

  it('fails if the list is not up to date', async () => {
    const out = join(await temporaryFolder(), 'list.md');
    await writeFile(out, 'old');
    const { code, stderr } = await run('--check', '--out', out);
    expect(code).toBe(1);
    expect(stderr).toContain('npm run licenses');
  });
});
