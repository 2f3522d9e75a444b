import { expect, test } from 'vitest';
import { dataPlugins } from './plugins.js';
import { temporaryFolder, writeInto } from './testing/files.js';

const folder = temporaryFolder();
const rows = (name: string): string => writeInto(folder, name, '');

// The reasons follow from the descriptions of the options.
test.each<[plugin: string, options: object, expected: readonly string[]]>([
  ['conversations', { path: rows('a.jsonl'), textUnit: 'paragraph' }, ['textUnit: there is no plain text file']],
  ['conversations', { path: rows('a.txt'), textUnit: 'paragraph' }, []],
  ['conversations', { path: rows('a.data'), format: 'text', textUnit: 'paragraph' }, []],
  ['conversations', { path: rows('b.jsonl'), maxGroupBytes: 9 }, ['maxGroupBytes: there is no Parquet file']],
  ['conversations', { path: rows('b.parquet'), maxGroupBytes: 9 }, []],
  ['deduplicate', { near: false, threshold: 0.9 }, ['threshold: near is false']],
  ['deduplicate', { near: false, shingle: 3, onLeak: 'drop' }, ['shingle: near is false', 'onLeak: against is empty']],
  ['deduplicate', { threshold: 0.9, against: ['a.jsonl'], onLeak: 'drop' }, []],
  ['quality-filter', { minScriptShare: 0.9 }, ['minScriptShare: scripts is empty']],
  ['quality-filter', { minScriptShare: 0.9, scripts: ['Han'] }, []],
  ['redact', { kinds: ['email'], countries: ['US'] }, ['countries: kinds does not contain phone']],
  ['redact', { countries: ['US'] }, []],
  ['augment-turns', { methods: ['drop'], turns: 5 }, ['turns: methods does not contain join']],
  ['augment-turns', { turns: 5 }, []],
])('%s %j: options that change nothing are reported', async (name, options, expected) => {
  const warnings: string[] = [];
  const silent = (): void => {};
  const plugin = dataPlugins.find((each) => each.name === name) ?? expect.fail(`no plugin ${name}`);
  await plugin.create(options as never, {
    logger: { debug: silent, info: silent, warn: (message) => void warnings.push(message), error: silent },
    seed: 1,
    baseFolder: folder,
    outputFolder: null,
    isSet: (option) => option in options,
  });
  expect(warnings).toEqual(expected.map((text) => `The option ${text.replace(':', ` of ${name} has no effect:`)}.`));
});
