import { expect, test } from 'vitest';
import type { DataSource, PluginContext } from '@whetstone/core/contract';
import { chat } from '../testing/sources.js';
import { asLines, collect, temporaryFolder, writeInto } from '../testing/files.js';
import { decontaminateSchema } from '../transforms/decontaminate/options.js';
import { deduplicateSchema } from '../transforms/duplicates/options.js';
import { conversations, mixture } from './plugins.js';

interface Schema {
  readonly properties: Readonly<Record<string, unknown>>;
}
const propertiesOf = (schema: unknown): Schema['properties'] => (schema as Schema).properties;

test('a path is a string or a list of strings, wherever files are named', async () => {
  const sources = propertiesOf(mixture.configSchema)['sources'] as { readonly items: Schema };
  for (const schema of [
    propertiesOf(conversations.configSchema)['path'],
    propertiesOf(sources.items)['path'],
    decontaminateSchema.properties.benchmarks,
    deduplicateSchema.properties.against,
  ])
    expect(schema).toMatchObject({ anyOf: [{ type: 'string' }, { type: 'array' }] });

  const folder = temporaryFolder();
  writeInto(folder, 'a.jsonl', asLines([{ messages: chat('a', '1').messages }]));
  const options = { sources: [{ name: 'one', path: 'a.jsonl', layout: 'auto', limit: null }] } as never;
  const source = (await mixture.create(options, { baseFolder: folder } as PluginContext)) as DataSource;
  expect(await collect(source.conversations())).toMatchObject([{ columns: { source: 'one' } }]);
});
