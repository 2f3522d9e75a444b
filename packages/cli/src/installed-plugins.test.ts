import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { installedPlugins } from './installed-plugins.js';

it.each<[string, unknown, boolean]>([
  ['a list', ['x', 'whetstone-plugin'], true],
  ['a text', 'whetstone-plugin', true],
  ['a text with commas', 'training, whetstone-plugin', true],
  ['a text with commas without spaces', 'training,whetstone-plugin,x', true],
  ['a text with spaces', 'training whetstone-plugin', true],
  ['another keyword', 'not-whetstone-plugin', false],
  ['another keyword in a list', ['whetstone-plugin-kit'], false],
  ['an object', { 'whetstone-plugin': true }, false],
  ['nothing', undefined, false],
])('finds installed packages by their keyword: %s', async (_, keywords, isFound) => {
  const folder = await mkdtemp(join(tmpdir(), 'whetstone-plugins-'));
  const own = join(folder, 'node_modules', 'a-plugin');
  await mkdir(own, { recursive: true });
  await writeFile(join(own, 'package.json'), JSON.stringify({ name: 'a-plugin', version: '1.2.3', keywords }));
  const names = installedPlugins(folder).map(({ name }) => name);
  expect(names.includes('a-plugin')).toBe(isFound);
  await rm(folder, { recursive: true });
});
