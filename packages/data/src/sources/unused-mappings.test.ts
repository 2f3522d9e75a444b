import { expect, test } from 'vitest';
import { asLines, temporaryFolder, writeInto } from '../testing/files.js';
import { createConversationSource, createMixtureSource, type ConversationSourceOptions } from './conversations.js';
import { unusedMappings } from './unused-mappings.js';

const folder = temporaryFolder();

const dialog = {
  dialog: [
    { who: 'customer', says: 'Hi' },
    { who: 'agent', says: 'Hello' },
  ],
};
const shared = {
  conversations: [
    { from: 'human', value: 'Hi' },
    { from: 'gpt', value: 'Hello' },
  ],
};
const mapped = { messages: 'dialog', role: 'who', content: 'says' } as const;
const roles = { customer: 'user', agent: 'assistant' };

// Which names occur in the rows can be read off them.
test.each<[string, object, Omit<ConversationSourceOptions, 'path'>, readonly string[]]>([
  ['all are used', dialog, { layout: 'messages', columns: mapped, roles }, []],
  [
    'a misspelled role',
    dialog,
    { layout: 'messages', columns: mapped, roles: { custommer: 'user', agent: 'assistant' } },
    [
      'The option roles.custommer of the train data has no effect: no row has a message of the role "custommer" ' +
        '(found: "customer", "agent"). Did you mean \'customer\'?',
    ],
  ],
  [
    'another case',
    shared,
    { roles: { Human: 'user' } },
    [
      'The option roles.Human of the train data has no effect: no row has a message of the role "Human" ' +
        '(found: "human", "gpt"). Did you mean \'human\'?',
    ],
  ],
  [
    'a column of another layout, and one that no row has',
    { ...shared, question: 'q' },
    { columns: { prompt: 'question', tools: 'functions' } },
    [expect.stringContaining('columns.prompt') as string, expect.stringContaining('columns.tools') as string],
  ],
  [
    'a key of messages',
    shared,
    { columns: { from: 'speaker', value: 'value' } },
    // Every row is unreadable with it.
    [expect.stringContaining('columns.from') as string],
  ],
  [
    'roles of rows without messages',
    { instruction: 'a', output: 'b' },
    { roles },
    [expect.stringContaining('roles.customer') as string, expect.stringContaining('roles.agent') as string],
  ],
  [
    'messages as text, as in a table',
    { messages: JSON.stringify(dialog.dialog) },
    {
      columns: { role: 'who', content: 'says' },
      roles,
    },
    [],
  ],
])('entries that no row uses are reported: %s', async (_, row, options, expected) => {
  const path = writeInto(folder, 'rows.jsonl', asLines([{ text: 'x' }, row].slice(1)));
  expect(await unusedMappings(await createConversationSource({ path, ...options }, folder), 'train data')).toEqual(
    expected,
  );
});

test('a role that only the last row has is used, unless the limit leaves that row out', async () => {
  const rows = [...Array.from({ length: 1500 }, () => shared), { conversations: [{ from: 'customer', value: 'a' }] }];
  const path = writeInto(folder, 'many.jsonl', asLines(rows));
  const source = (limit: number | null) =>
    createConversationSource({ path, limit, roles: { customer: 'user' } }, folder);
  expect(await unusedMappings(await source(null), 'train data')).toEqual([]);
  expect(await unusedMappings(await source(1500), 'train data')).toHaveLength(1);
});

test('the source of a mixture is named', async () => {
  const path = writeInto(folder, 'mixed.jsonl', asLines([shared]));
  const source = await createMixtureSource([{ name: 'web', path, roles: { bot: 'assistant' } }], folder);
  expect(await unusedMappings(source, 'eval data')).toEqual([
    expect.stringContaining('The option roles.bot of the source web of the eval data has no effect') as string,
  ]);
});
