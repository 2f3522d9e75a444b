import type { Template } from './template.js';

export const dataSource: Template = {
  description: 'Reads questions and answers, separated by a tab, from the lines of a text file.',
  configuration: (use) => ({ data: { train: { use, options: { path: 'train.txt' } } } }),
  source: ({ name, description }) => `import { createReadStream } from 'node:fs';
import { resolve } from 'node:path';
import { createInterface } from 'node:readline';
«import type { DataSource } from '@whetstone/core/contract';
»import { definePlugin } from '@whetstone/core/contract';

export default definePlugin({
  apiVersion: 2,
  kind: 'data-source',
  name: '${name}',
  version: '0.1.0',
  description: '${description}',
  configSchema: {
    type: 'object',
    additionalProperties: false,
    required: ['path'],
    properties: { path: { type: 'string', description: 'The file, from the folder of the configuration.' } },
  },
  create: ({ path }, { baseFolder }) => {
    const file = resolve(baseFolder, path);
    let unreadable«: DataSource['unreadable']» = [];
    return {
      files: [file],
      get unreadable() {
        return unreadable;
      },
      // Each call starts at the first line, and returns the same conversations.
      async *conversations() {
        unreadable = [];
        let line = 0;
        for await (const text of createInterface({ input: createReadStream(file), crlfDelay: Infinity })) {
          const origin = { file, line: ++line, index: line - 1 };
          const [question, answer, ...others] = text.split('\\t');
          if (question === undefined || answer === undefined || others.length > 0) {
            unreadable = [...unreadable, { origin, reason: 'the line does not have exactly one tab' }];
            continue;
          }
          const messages = [
            { role: 'user', content: question },
            { role: 'assistant', content: answer },
          ];
          yield { form: 'chat'« as const», messages, origin };
        }
      },
    };
  },
});
`,
  test: () => `import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createFrom } from '@whetstone/testing';
import { afterAll, beforeAll, expect, it } from 'vitest';
import plugin from './index.js';

let file = '';
beforeAll(async () => {
  file = join(await mkdtemp(join(tmpdir(), 'data-source-')), 'train.txt');
  await writeFile(file, 'Is it late?\\tNo.\\nA line without a tab\\r\\nIs it far?\\tYes.\\r\\n');
});
afterAll(() => rm(join(file, '..'), { recursive: true }));

it('reads the same conversations each time, and lists the lines that it cannot read', async () => {
  const source = await createFrom(plugin, { path: file });
  for (let pass = 0; pass < 2; pass++) {
    const read = [];
    for await (const { messages, origin } of source.conversations())
      read.push([origin.line, ...messages.map(({ content }) => content)]);
    expect(read).toEqual([
      [1, 'Is it late?', 'No.'],
      [3, 'Is it far?', 'Yes.'],
    ]);
    expect(source.unreadable.map(({ origin }) => origin.line)).toEqual([2]);
  }
});

it('refuses options without a path', async () => {
  await expect(createFrom(plugin, {})).rejects.toThrow(/path/);
});
`,
};
