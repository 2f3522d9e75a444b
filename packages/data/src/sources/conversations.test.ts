import { gzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { isWhetstoneError } from '@whetstone/core/contract';
import { asLines, collect, temporaryFolder, writeInto } from '../testing/files.js';
import { createConversationSource, type ConversationSourceOptions } from './conversations.js';
import { checkUnreadable } from './unreadable.js';

const folder = temporaryFolder();
let files = 0;

/** Reads one file. `turns` holds messages as `role:content`, `problems` the unreadable rows. */
async function read(content: string | Uint8Array, options: Partial<ConversationSourceOptions> = {}) {
  const file = writeInto(folder, `${files++}.jsonl`, content);
  const source = await createConversationSource({ path: file, ...options }, folder);
  const conversations = await collect(source.conversations());
  return {
    file,
    source,
    conversations,
    turns: conversations.map(({ messages }) =>
      messages.map(({ role, content: text }) => `${role}:${typeof text === 'string' ? text : JSON.stringify(text)}`),
    ),
    problems: source.unreadable.map(({ origin, reason }) => ({ line: origin.line, reason })),
  };
}

describe('layouts', () => {
  const user = { role: 'user', content: 'Hi' };
  const assistant = { role: 'assistant', content: 'Hello' };

  test('conversation; other keys become columns', async () => {
    const { turns, conversations } = await read(asLines([{ conversation: [user, assistant], topic: 'greeting' }]));
    expect(turns).toEqual([['user:Hi', 'assistant:Hello']]);
    expect(conversations[0]?.columns).toEqual({ topic: 'greeting' });
    expect(conversations[0]?.form).toBe('chat');
    expect(conversations[0]?.origin).toMatchObject({ line: 1, index: 0 });
  });

  test('messages, with tools and tool calls', async () => {
    const tools = [{ type: 'function', function: { name: 'weather', parameters: {} } }];
    const call = {
      role: 'assistant',
      content: null,
      tool_calls: [{ type: 'function', function: { name: 'weather', arguments: { city: 'Oslo' } } }],
    };
    const { conversations } = await read(
      asLines([{ messages: [user, call, { role: 'tool', content: '3 °C', tool_call_id: '1' }, assistant], tools }]),
    );
    expect(conversations[0]?.tools).toEqual(tools);
    expect(conversations[0]?.messages[1]).toEqual(call);
    expect(conversations[0]?.messages[2]).toMatchObject({ tool_call_id: '1' });
  });

  test('prompt and completion as text', async () => {
    const { conversations, turns } = await read(asLines([{ prompt: '2+2=', completion: '4' }]));
    expect(conversations[0]?.form).toBe('completion');
    expect(turns).toEqual([['user:2+2=', 'assistant:4']]);
  });

  test('prompt and completion as messages; those of the prompt are marked', async () => {
    const { conversations } = await read(asLines([{ prompt: [user, assistant, user], completion: [assistant] }]));
    expect(conversations[0]?.form).toBe('chat');
    expect(conversations[0]?.messages.map(({ isPrompt }) => isPrompt)).toEqual([true, true, true, undefined]);
  });

  test('Alpaca, with input, system and history', async () => {
    const { turns } = await read(
      asLines([
        { instruction: 'Add', input: '1 and 2', output: '3', system: 'Be brief', history: [['Hi', 'Hello']] },
        { instruction: 'Sing', output: 'La' },
      ]),
    );
    expect(turns).toEqual([
      ['system:Be brief', 'user:Hi', 'assistant:Hello', 'user:Add\n1 and 2', 'assistant:3'],
      ['user:Sing', 'assistant:La'],
    ]);
  });

  test('plain text', async () => {
    const { conversations } = await read(asLines([{ text: 'Once upon a time' }]));
    expect(conversations[0]).toMatchObject({ form: 'text', messages: [{ content: 'Once upon a time' }] });
  });

  test('ShareGPT, with its roles and calls', async () => {
    const { turns, conversations } = await read(
      asLines([
        {
          system: 'Help',
          conversations: [
            { from: 'human', value: 'Weather?' },
            { from: 'function_call', value: '{"name": "weather", "arguments": {"city": "Oslo"}}' },
            { from: 'observation', value: '3' },
            { from: 'gpt', value: 'Cold' },
          ],
        },
      ]),
    );
    expect(turns).toEqual([['system:Help', 'user:Weather?', 'assistant:null', 'tool:3', 'assistant:Cold']]);
    expect(conversations[0]?.messages[2]?.tool_calls).toEqual([
      { type: 'function', function: { name: 'weather', arguments: { city: 'Oslo' } } },
    ]);
  });

  test('"train" and "weight" of a turn, in every layout with turns', async () => {
    const messages = await read(
      asLines([
        { messages: [user, { ...assistant, weight: 0.5, train: true }] },
        { messages: [user, { ...assistant, weight: -1 }] },
      ]),
    );
    const shared = await read(
      asLines([
        {
          conversations: [
            { from: 'human', value: 'Hi' },
            { from: 'gpt', value: 'Hello', weight: 0, train: null },
          ],
        },
        { conversations: [{ from: 'gpt', value: 'x', weight: 'much' }] },
      ]),
    );
    expect(
      [...messages.conversations, ...shared.conversations].map(({ messages: [, reply] }) => [
        reply?.weight,
        reply?.train,
      ]),
    ).toEqual([
      [0.5, true],
      [0, undefined],
    ]);
    expect([...messages.problems, ...shared.problems].map(({ reason }) => reason)).toEqual([
      expect.stringContaining('weight'),
      expect.stringContaining('weight'),
    ]);
  });

  test('configured, with a column mapping and a role mapping', async () => {
    const { turns } = await read(
      asLines([
        {
          dialog: [
            { who: 'customer', says: 'Hi' },
            { who: 'agent', says: 'Hello' },
          ],
        },
      ]),
      {
        layout: 'messages',
        columns: { messages: 'dialog', role: 'who', content: 'says' },
        roles: { customer: 'user', agent: 'assistant' },
      },
    );
    expect(turns).toEqual([['user:Hi', 'assistant:Hello']]);
  });

  test('each file has its own layout', async () => {
    const first = writeInto(folder, 'mixed-a.jsonl', asLines([{ text: 'A' }]));
    const second = writeInto(folder, 'mixed-b.jsonl', asLines([{ messages: [user, assistant] }]));
    const source = await createConversationSource({ path: [first, second] }, folder);
    expect((await collect(source.conversations())).map(({ form }) => form)).toEqual(['text', 'chat']);
  });
});

describe('unreadable rows', () => {
  const good = JSON.stringify({
    messages: [
      { role: 'user', content: 'Hi' },
      { role: 'assistant', content: 'Hello' },
    ],
  });

  test('are listed with their line and reason, and the rest is read', async () => {
    const rows = [
      good,
      '{"messages": [',
      '',
      '[]',
      '{"messages": []}',
      '{"messages": [{"role": "user"}]}',
      '{"messages": [{"role": "user", "content": 3}]}',
      '{"messages": [{"role": "", "content": "x"}]}',
      '{"text": "another layout"}',
      '{"messages": [{"role": "user", "content": "\\ud83d"}]}',
      '{"messages": [{"role": "user", "content": "a\\u0000b"}]}',
      '{"messages": [{"role": "user", "content": "x", "train": "no"}]}',
      good,
    ];
    const { problems, turns } = await read(rows.join('\r\n'));
    expect(turns).toHaveLength(2);
    expect(problems.map(({ line }) => line)).toEqual([2, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
    const reasons = problems.map(({ reason }) => reason);
    expect(reasons[0]).toMatch(/not valid JSON/);
    expect(reasons[1]).toMatch(/an empty list; expected an object/);
    expect(reasons[2]).toMatch(/messages is an empty list; expected at least one message/);
    expect(reasons[3]).toMatch(/messages\[0\]\.content is missing/);
    expect(reasons[4]).toMatch(/messages\[0\]\.content is number 3; expected text/);
    expect(reasons[5]).toMatch(/role is empty/);
    expect(reasons[6]).toMatch(/messages is missing; expected a list of messages/);
    expect(reasons[7]).toMatch(/half of a surrogate pair at character 1/);
    expect(reasons[8]).toMatch(/NUL character at character 2/);
    expect(reasons[9]).toMatch(/train is the text "no"/);
  });

  test('are listed in the error', async () => {
    const { source, file } = await read(`${good}\n{\n${good}\nnull\n`);
    const error = (() => {
      try {
        checkUnreadable(source.unreadable);
        return null;
      } catch (thrown) {
        return thrown;
      }
    })();
    expect(isWhetstoneError(error) && error.code).toBe('DATA_UNREADABLE');
    expect(isWhetstoneError(error) && error.problems.map(({ place }) => place)).toEqual([
      { file, line: 2 },
      { file, line: 4 },
    ]);
    expect(String(error)).toContain('2 rows cannot be read');
  });

  test('are counted again at each iteration', async () => {
    const { source } = await read(`${good}\n{\n`);
    await collect(source.conversations());
    expect(source.unreadable).toHaveLength(1);
  });

  test('an unknown layout is reported with the keys of the row and the known keys', async () => {
    const { problems } = await read('{"question": "a", "answer": "b"}\n');
    expect(problems[0]?.reason).toMatch(
      /the layout is not recognized: the row has "question", "answer".*"prompt" \+ "completion"/,
    );
  });

  test('deep nesting is reported without a stack overflow', async () => {
    const { problems, conversations } = await read(
      `{"text": "a", "extra": ${'['.repeat(50_000)}${']'.repeat(50_000)}}\n${JSON.stringify({ text: 'b' })}\n`,
    );
    expect(problems).toEqual([{ line: 1, reason: expect.stringMatching(/nested deeper than 64/) as string }]);
    expect(conversations).toHaveLength(1);
  });
});

describe('encodings', () => {
  const row = JSON.stringify({ text: 'Grüße, 世界' });

  test('byte-order mark, CRLF, no line break at the end', async () => {
    const { conversations, problems } = await read(`\ufeff${row}\r\n\r\n${row}`);
    expect(problems).toEqual([]);
    expect(conversations.map(({ messages, origin }) => [messages[0]?.content, origin.line])).toEqual([
      ['Grüße, 世界', 1],
      ['Grüße, 世界', 3],
    ]);
  });

  test('UTF-16 with a byte-order mark', async () => {
    const { conversations } = await read(Buffer.from(`\ufeff${row}\n`, 'utf16le'));
    expect(conversations[0]?.messages[0]?.content).toBe('Grüße, 世界');
  });

  test('a line in Latin-1 is reported, the others are read', async () => {
    const { conversations, problems } = await read(
      Buffer.concat([Buffer.from(row), Buffer.from('\n{"text": "Gr\xfc\xdfe"}\n', 'latin1'), Buffer.from(row)]),
    );
    expect(conversations).toHaveLength(2);
    expect(problems).toEqual([{ line: 2, reason: 'the line is not valid UTF-8' }]);
  });

  test('gzip, and truncated gzip', async () => {
    const packed = gzipSync(`${row}\n`.repeat(1000));
    expect((await read(packed)).conversations).toHaveLength(1000);
    await expect(read(packed.subarray(0, packed.length - 20))).rejects.toMatchObject({ code: 'FILE_UNREADABLE' });
  });

  test('a line above the limit is reported and skipped', async () => {
    const { conversations, problems } = await read(`${JSON.stringify({ text: 'x'.repeat(3_000_000) })}\n${row}\n`, {
      maxRowBytes: 1_000_000,
    });
    expect(conversations).toHaveLength(1);
    expect(problems[0]?.reason).toMatch(/2\.9 MiB; the limit is 1\.0 MiB/);
  });
});

describe('files', () => {
  test('globs and folders are sorted by name; a limit', async () => {
    const inner = temporaryFolder();
    writeInto(inner, 'b.jsonl', asLines([{ text: 'b' }]));
    writeInto(inner, 'a.jsonl', asLines([{ text: 'a' }, { text: 'a2' }]));
    writeInto(inner, 'notes.md', '# not data');
    const contents = async (path: string, limit?: number) => {
      const source = await createConversationSource({ path, limit }, inner);
      return (await collect(source.conversations())).map(({ messages }) => messages[0]?.content);
    };
    expect(await contents('*.jsonl')).toEqual(['a', 'a2', 'b']);
    expect(await contents('.')).toEqual(['a', 'a2', 'b']);
    expect(await contents('*.jsonl', 2)).toEqual(['a', 'a2']);
  });

  test('a path that does not exist is an error', async () => {
    await expect(createConversationSource({ path: 'missing.jsonl' }, folder)).rejects.toMatchObject({
      code: 'FILE_NOT_FOUND',
    });
  });
});
