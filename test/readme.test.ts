import { spawn } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createProgram } from '../packages/cli/src/command-line.js';
import { Trainer } from '../packages/cli/src/trainer.js';
import { createTinyModel } from '../packages/cli/src/tiny-model.js';

const root = fileURLToPath(new URL('..', import.meta.url));
const readme = await readFile(join(root, 'README.md'), 'utf8');
const blocks = (language: string): string[] =>
  [...readme.matchAll(new RegExp(`^\`\`\`${language}\\n([\\s\\S]*?)^\`\`\``, 'gm'))].map((match) => match[1] ?? '');

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'whetstone-readme-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

describe('README', () => {
  // The program runs as it stands there; the cache it looks into holds a tiny model under the name of the real one.
  test('the program is at most ten lines and runs', async () => {
    const [program = ''] = blocks('ts');
    expect(program.trim().split('\n').length).toBeLessThanOrEqual(10);
    await mkdir(join(folder, 'cache', 'models'), { recursive: true });
    await createTinyModel(join(folder, 'cache', 'models', 'smollm2-135m'), { hiddenSize: 32, layers: 1 });
    await symlink(join(root, 'node_modules'), join(folder, 'node_modules'));
    await writeFile(join(folder, 'program.mjs'), program);
    const child = spawn(process.execPath, [join(folder, 'program.mjs')], {
      cwd: root,
      env: { ...process.env, WHETSTONE_CACHE: join(folder, 'cache') },
    });
    let output = '';
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (chunk: Buffer) => (output += chunk.toString()));
    const code = await new Promise((resolve) => child.on('close', resolve));
    expect(output).toMatch(/^20 \d\.\d{3}$/m);
    expect(output).toMatch(/evalLossAfter: \d/);
    expect(code).toBe(0);
  }, 240_000);

  test('the configuration is valid, comments and all', async () => {
    const [config = ''] = blocks('jsonc');
    await writeFile(join(folder, 'run.json'), config);
    const resolved = await new Trainer(join(folder, 'run.json')).resolve();
    expect(resolved.callbacks.map(({ use }) => use)).toEqual(['gradient-clipping', 'early-stopping']);
  });

  test('every command and option that it shows exists', () => {
    const lines = blocks('sh')
      .flatMap((block) => block.split('\n'))
      .map((line) => line.replace(/\s+#.*$/, ''))
      .filter((line) => line.startsWith('npx whetstone '));
    expect(lines.length).toBeGreaterThan(8);
    for (const line of lines) {
      let command = createProgram();
      const words = line.split(/\s+/).slice(2);
      for (const word of words) {
        const sub = command.commands.find((one) => one.name() === word);
        if (sub === undefined) break;
        command = sub;
      }
      expect(command.name(), line).not.toBe('whetstone');
      const known = command.options.map((option) => option.long);
      for (const word of words.filter((one) => one.startsWith('--'))) expect(known, line).toContain(word);
    }
  });
});
