import '@tensorflow/tfjs-backend-cpu';
import { existsSync } from 'node:fs';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { setBackend } from '@tensorflow/tfjs-core';
import { afterEach, describe, expect, it } from 'vitest';
import { pluginsForAdapter } from '../packages/cli/src/adapter-plugins.js';
import { createTinyModel } from '../packages/cli/src/tiny-model.js';
import { createConversationSource } from '@whetstone/data';
import { loadModel } from '@whetstone/models';
import { repository } from './support/execute.js';
import { temporaryFolder } from './support/temporary-folder.js';

// The claims of SECURITY.md that no other test holds.

const UNITS: Readonly<Record<string, number>> = { '': 1, KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30 };

/** Returns the value of a numeric constant or default in a source file: a product of numbers. */
function constantIn(source: string, name: string): number {
  const [, product] = new RegExp(`\\b${name} = ([\\d_]+(?: \\* [\\d_]+)*)[;,)]`).exec(source) ?? [];
  if (product === undefined) throw new Error(`There is no constant ${name}.`);
  return product.split(' * ').reduce((value, factor) => value * Number(factor.replaceAll('_', '')), 1);
}

describe('the bounds in SECURITY.md', async () => {
  const page = await readFile(join(repository, 'SECURITY.md'), 'utf8');
  const rows = [...page.matchAll(/^\| (.+) \| ([\d,]+) ?(\w*) \| \[(\w+)\]\((.+)\) \|$/gm)].map(
    ([, of = '', number = '', unit = '', name = '', file = '']) => ({ of, number, unit, name, file }),
  );

  it('are all read by this test', () => {
    expect(rows).toHaveLength(page.split('## Bounds')[1]?.match(/^\| .* \| \[/gm)?.length ?? 0);
    expect(rows.length).toBeGreaterThan(15);
  });

  it.each(rows)('$of: $number $unit', async ({ number, unit, name, file }) => {
    const stated = Number(number.replaceAll(',', '')) * (UNITS[unit] ?? Number.NaN);
    expect(constantIn(await readFile(join(repository, file), 'utf8'), name)).toBe(stated);
  });
});

describe('what comes from others runs no code', () => {
  const home = process.cwd();
  afterEach(() => process.chdir(home));

  /** A module that leaves a mark when it runs. */
  const marking = (mark: string): string =>
    `import { writeFileSync } from 'node:fs';\nwriteFileSync(${JSON.stringify(mark)}, '');\nexport default {};\n`;

  it('a model folder with programs in it', async () => {
    const root = await temporaryFolder();
    const mark = join(root, 'mark');
    const folder = join(root, 'model');
    await createTinyModel(folder, { hiddenSize: 32, layers: 1 });
    const config = JSON.parse(await readFile(join(folder, 'config.json'), 'utf8')) as object;
    await writeFile(
      join(folder, 'config.json'),
      JSON.stringify({
        ...config,
        auto_map: { AutoConfig: 'evil.js', AutoModel: 'evil.Model' },
        trust_remote_code: true,
      }),
    );
    await writeFile(join(folder, 'package.json'), '{"type": "module", "main": "./evil.js", "exports": "./evil.js"}');
    for (const name of ['evil.js', 'index.js', 'tokenizer.mjs', 'whetstone.config.mjs', 'plugin.ts'])
      await writeFile(join(folder, name), marking(mark));
    await rm(join(folder, 'manifest.json'), { force: true });
    process.chdir(folder);
    await setBackend('cpu');
    const { model, renderer } = await loadModel(folder);
    expect(renderer.renderPrompt([{ role: 'user', content: 'hi' }])).toContain('hi');
    model.dispose();
    expect(existsSync(mark)).toBe(false);
  });

  it.each(['data.js', 'data.mjs', 'data.ts', 'data.jsonl'])('a dataset %s', async (name) => {
    const root = await temporaryFolder();
    const mark = join(root, 'mark');
    await writeFile(join(root, name), marking(mark));
    const read = async (): Promise<void> => {
      const source = await createConversationSource({ path: name }, root);
      for await (const conversation of source.conversations()) expect(conversation).toBeUndefined();
    };
    await read().catch(() => undefined);
    expect(existsSync(mark)).toBe(false);
  });

  it('an adapter that names a file, or a package that is no plugin', async () => {
    const root = await temporaryFolder();
    const mark = join(root, 'mark');
    const folder = join(root, 'adapter');
    await mkdir(folder);
    const file = join(folder, 'evil.mjs');
    await writeFile(file, marking(mark));
    await writeFile(join(folder, 'adapter_config.json'), '{"peft_type": "UNKNOWN"}');
    const packages: Readonly<Record<string, object>> = {
      'not-a-plugin': { main: 'evil.js' },
      'a-plugin': { main: 'good.js', keywords: ['whetstone-plugin'] },
    };
    for (const [name, content] of Object.entries(packages)) {
      await mkdir(join(root, 'node_modules', name), { recursive: true });
      await writeFile(
        join(root, 'node_modules', name, 'package.json'),
        JSON.stringify({ name, version: '1.0.0', type: 'module', ...content }),
      );
      await writeFile(join(root, 'node_modules', name, 'evil.js'), marking(mark));
      await writeFile(join(root, 'node_modules', name, 'good.js'), 'export default {};');
    }
    process.chdir(root);
    const uses = [
      './adapter/evil.mjs',
      file,
      pathToFileURL(file).href,
      'not-a-plugin',
      'not-a-plugin#lora',
      // Out of a package that may be loaded, to a file that the adapter brings.
      'a-plugin/../../adapter/evil.mjs',
      'a-plugin/.././../adapter/evil.mjs#lora',
      'a-plugin/..',
    ];
    for (const use of uses) {
      await writeFile(join(folder, 'whetstone.json'), JSON.stringify({ strategy: { use, version: '1.0.0' } }));
      expect(await pluginsForAdapter(folder, []), use).toEqual([]);
      expect(existsSync(mark), use).toBe(false);
    }
  });
});
