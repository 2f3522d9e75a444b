import { readFile } from 'node:fs/promises';
import { editorSchema } from '@whetstone/core/config';
import { expect, it } from 'vitest';
import { builtInPlugins } from '../packages/cli/src/built-ins.js';
import { configTypes } from '../scripts/config-types.mjs';

it('has the types of the schemas: npm run config-types', async () => {
  const schema = editorSchema(builtInPlugins.map((plugin) => ({ use: plugin.name, plugin })));
  const written = await readFile(new URL('../packages/cli/src/config-types.ts', import.meta.url), 'utf8');
  expect(await configTypes(schema)).toBe(written);
});
