import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { asLines, temporaryFolder, writeInto } from '../testing/files.js';
import { chat } from '../testing/sources.js';
import { createConversationSource } from '../sources/conversations.js';
import { expandFiles, slashed } from './files.js';

test('a pattern with the separators of Windows finds the same files there', async () => {
  const folder = temporaryFolder();
  mkdirSync(path.join(folder, 'data'));
  writeInto(folder, 'data/a.jsonl', '{}');
  const pattern = slashed('data\\*.jsonl', '\\');
  expect(await expandFiles([pattern], folder)).toEqual(await expandFiles(['data/*.jsonl'], folder));
  // Elsewhere, a backslash escapes.
  expect(slashed('data/\\*.jsonl', '/')).toBe('data/\\*.jsonl');
});

test.each(['jsonl', 'csv'])('line ends of Windows in %s do not change the conversations', async (extension) => {
  const folder = temporaryFolder();
  const lines =
    extension === 'csv'
      ? 'prompt,completion\nhello,hi there\n"two, words",yes\n'
      : asLines([{ messages: chat('hello', 'hi there').messages }, { messages: chat('two, words', 'yes').messages }]);
  const messagesOf = async (name: string, text: string): Promise<unknown[]> => {
    writeInto(folder, name, text);
    const found = [];
    for await (const { messages } of (await createConversationSource({ path: name }, folder)).conversations())
      found.push(messages);
    return found;
  };
  const unix = await messagesOf(`unix.${extension}`, lines);
  expect(unix).toHaveLength(2);
  expect(await messagesOf(`windows.${extension}`, lines.replaceAll('\n', '\r\n'))).toEqual(unix);
});
