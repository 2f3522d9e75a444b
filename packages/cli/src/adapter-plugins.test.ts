import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, it } from 'vitest';
import { pluginsForAdapter } from './adapter-plugins.js';

const before = process.cwd();
let folder: string;
afterEach(async () => {
  process.chdir(before);
  await rm(folder, { recursive: true });
});

it.each([
  ['1.0.0', []],
  ['0.9.0', ['The adapter was trained with version 0.9.0 of scales, and is read with version 1.0.0.']],
  [null, ['The adapter was trained with version unknown of scales, and is read with version 1.0.0.']],
])('warns if the installed strategy has another version than the one that trained: %s', async (version, expected) => {
  folder = await mkdtemp(join(tmpdir(), 'whetstone-adapter-plugins-'));
  const installed = join(folder, 'node_modules', 'scales');
  await mkdir(installed, { recursive: true });
  await writeFile(
    join(installed, 'package.json'),
    JSON.stringify({
      name: 'scales',
      version: '1.0.0',
      type: 'module',
      main: 'index.js',
      keywords: ['whetstone-plugin'],
    }),
  );
  await writeFile(
    join(installed, 'index.js'),
    `export default {
      apiVersion: 2,
      kind: 'strategy',
      name: 'scales',
      version: '1.0.0',
      description: 'A test.',
      configSchema: { type: 'object', additionalProperties: false, properties: {} },
      adapter: { peftTypes: ['SCALES'], load: () => null },
      create: () => null,
    };`,
  );
  await writeFile(join(folder, 'adapter_config.json'), '{"peft_type": "SCALES"}');
  await writeFile(join(folder, 'whetstone.json'), JSON.stringify({ strategy: { use: 'scales', version } }));
  process.chdir(folder);
  const warnings: string[] = [];
  const plugins = await pluginsForAdapter(folder, [], (message) => warnings.push(message));
  expect(plugins.map(({ name }) => name)).toEqual(['scales']);
  expect(warnings).toEqual(expected);
});
