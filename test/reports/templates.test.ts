import { readFileSync } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CLOCK, type Conversation, type Tokenizer } from '@whetstone/core/contract';
import { createConversationSource } from '@whetstone/data';
import { createExampleMaker, describeProof, proveSupervision, rowOf } from '@whetstone/data/internal';
import type { ResolvedConfig } from '../../packages/core/src/config/types.js';
import { createServices, provide } from '../../packages/core/src/container.js';
import { RUN_CLUSTER } from '../../packages/core/src/trainer/compose/cluster.js';
import { modelServices, TEMPLATE_TIME } from '../../packages/core/src/trainer/compose/model.js';
import { savedTemplateTime, saveTemplateTime } from '../../packages/core/src/trainer/output-folder.js';
import { createRenderer } from '../../packages/models/src/chat-template/renderer.js';
import { readTemplates } from '../../packages/models/src/chat-template/template-files.js';
import { casePath, fixture, readCase, renderedCases, rendererOf } from './support.js';

const golden = fileURLToPath(new URL('../golden/chat-templates', import.meta.url));

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'whetstone-reports-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** A tokenizer with one token for each UTF-16 unit. */
const characters = {
  eosTokenId: null,
  encode: (text: string) => Array.from({ length: text.length }, (_, at) => text.charCodeAt(at)),
  encodeWithSpans: (text: string) => ({
    ids: Array.from({ length: text.length }, (_, at) => text.charCodeAt(at)),
    starts: Array.from({ length: text.length }, (_, at) => at),
    ends: Array.from({ length: text.length }, (_, at) => at + 1),
  }),
  decode: (ids: readonly number[]) => String.fromCharCode(...ids),
} as unknown as Tokenizer;

describe.each(['c06_stringargs.jsonl', 'c51_reasoning.jsonl', 'c52_kwargs.jsonl'])(
  '%s renders as in transformers',
  (file) => {
    it.each(renderedCases(file))('line $line, $template', async ({ line, text, renderer }) => {
      const { conversations } = await readCase(casePath(file));
      const { messages, tools, templateVariables } = conversations[line - 1] ?? { messages: [] };
      expect(renderer.render(messages, tools, templateVariables).text).toBe(text);
    });
  },
);

it('reasoning that a template does not write is reported', async () => {
  const source = await createConversationSource({ path: casePath('c51_reasoning.jsonl') }, '.');
  const prove = async (template: string): Promise<string[]> => {
    const renderer = createRenderer(template, { specialTokens: {}, tokenizer: characters });
    const proof = await proveSupervision({ source, tokenizer: characters, renderer });
    return describeProof(proof).flatMap(({ text }) => (text.includes('reasoning') ? [text] : []));
  };
  expect(await prove(fixture.templates['qwen3'] ?? '')).toEqual([]);
  expect(await prove(fixture.templates['kw'] ?? '')).toEqual([
    expect.stringMatching(/does not write the reasoning of 4 of 4 turns.* message 2 of .*, line 1\./) as string,
  ]);
});

describe('reasoning that a template does not write is reported', () => {
  const qwen3 = fixture.templates['qwen3'] ?? '';
  const answering = (reply: object): Conversation => ({
    messages: [
      { role: 'user', content: 'q' },
      { role: 'assistant', content: '4', ...reply },
    ],
    form: 'chat',
    origin: { file: 'rows.jsonl', line: 1, index: 0 },
  });
  const warned = async (reply: object, template: string): Promise<boolean> => {
    const { messages } = answering(reply);
    const file = join(folder, 'reasoning.jsonl');
    await writeFile(file, `${JSON.stringify({ messages })}\n`);
    const source = await createConversationSource({ path: file }, '.');
    const renderer = createRenderer(template, { specialTokens: {}, tokenizer: characters });
    const proof = await proveSupervision({ source, tokenizer: characters, renderer });
    return proof.findings.withoutReasoning.count > 0;
  };
  const dropping = "{% for m in messages %}<{{ m.role }}>{{ m.content.split('</think>')[-1] }}<end>{% endfor %}";

  it.each([
    ['another name is empty', { reasoning_content: '', thinking: 'add' }, qwen3],
    ['a list of parts', { reasoning_content: [{ type: 'text', text: 'add' }] }, qwen3],
    ['a name that templates do not read', { reasoning_details: [{ type: 'reasoning.text', text: 'add' }] }, qwen3],
    ['within the content', { content: '<think>\nadd\n</think>\n\n4' }, dropping],
    ['within the content, without its start', { content: 'add</think>4' }, dropping],
  ])('%s', async (_name, reply, template) => {
    expect(await warned(reply, template)).toBe(true);
  });

  it.each([
    ['empty', { reasoning_content: '' }],
    ['under its name', { thinking: 'add' }],
    ['within the content', { content: '<think>\nadd\n</think>\n\n4' }],
    [
      'in a part with a list, as Mistral writes it',
      {
        content: [
          { type: 'thinking', thinking: [{ type: 'text', text: 'add' }] },
          { type: 'text', text: '4' },
        ],
      },
    ],
  ])('but not if the template writes it: %s', async (_name, reply) => {
    expect(await warned(reply, qwen3)).toBe(false);
  });

  it('and a template that reads the parts itself sees them', () => {
    const parts =
      '{% for m in messages %}{% if m.content is string %}{{ m.content }}{% else %}{% for p in m.content %}' +
      "{% if p.type == 'thinking' %}[THINK]{{ p.thinking }}[/THINK]{% else %}{{ p.text }}{% endif %}{% endfor %}" +
      '{% endif %}{% endfor %}';
    const { messages } = answering({
      content: [
        { type: 'thinking', thinking: 'add' },
        { type: 'text', text: '4' },
      ],
    });
    expect(rendererOf(parts).render(messages).text).toBe('q[THINK]add[/THINK]4');
  });
});

it('fields of turns with "from" and "value" reach the template', async () => {
  const file = join(folder, 'sharegpt.jsonl');
  const turns = [
    { from: 'human', value: 'q' },
    { from: 'gpt', value: '4', reasoning_content: 'add', name: null, tool_calls: [{ function: { name: 'f' } }] },
  ];
  await writeFile(file, `${JSON.stringify({ conversations: turns })}\n`);
  const [read] = (await readCase(file)).conversations;
  expect(read?.messages[1]).toEqual({
    role: 'assistant',
    content: '4',
    reasoning_content: 'add',
    tool_calls: [{ function: { name: 'f' } }],
  });
});

describe('variables of a row', () => {
  it('reach the prompt, and are written again', async () => {
    const [first] = (await readCase(casePath('c52_kwargs.jsonl'))).conversations;
    const { messages, tools, templateVariables } = first as Conversation;
    const renderer = rendererOf(fixture.templates['kw'] ?? '');
    expect(renderer.renderPrompt(messages.slice(0, 1), tools, templateVariables)).toBe(
      '<mode brief><|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n',
    );
    expect(JSON.parse(rowOf(first as Conversation))).toMatchObject({ chat_template_kwargs: { mode: 'brief' } });
  });

  it('that are not an object are reported with their row', async () => {
    const file = join(folder, 'kwargs.jsonl');
    await writeFile(file, '{"messages":[{"role":"user","content":"q"}],"chat_template_kwargs":[1]}\n');
    const { unreadable } = await readCase(file);
    expect(unreadable).toEqual([{ line: 1, reason: expect.stringContaining('chat_template_kwargs') as string }]);
  });
});

describe('tool arguments that are text', () => {
  const calls = (text: string): Conversation => ({
    messages: [
      { role: 'user', content: 'q' },
      { role: 'assistant', content: '', tool_calls: [{ function: { name: 'f', arguments: text } }] },
    ],
    form: 'chat',
    origin: { file: 'rows.jsonl', line: 7, index: 6 },
  });
  const asMapping =
    '{% for m in messages %}{% for c in m.tool_calls or [] %}{{ c.function.arguments | tojson }}' +
    '{% endfor %}{% endfor %}';

  it('stay as they are if the template writes text, as Qwen 3 does', () => {
    const { messages } = calls('{"city":"Oslo"}');
    expect(rendererOf(fixture.templates['qwen3'] ?? '').render(messages).text).toContain(
      '"arguments": {"city":"Oslo"}',
    );
    expect(rendererOf(asMapping).render(messages).text).toBe('{"city": "Oslo"}');
  });

  it('that cannot be parsed are an error with file and line of the data', () => {
    const makeExample = createExampleMaker({ tokenizer: characters, renderer: rendererOf(asMapping) });
    expect(() => makeExample(calls('{"city": '))).toThrow(
      expect.objectContaining({ code: 'TEMPLATE_FAILED', place: { file: 'rows.jsonl', line: 7 } }) as Error,
    );
  });
});

it('line breaks of a template are normalised, those of contents are not', () => {
  const source = '{% for m in messages %}\r\n<{{ m.role }}>\r\n{{ m.content }}\r\n{% endfor %}\r\n';
  const messages = [{ role: 'user', content: 'a\r\nb' }];
  expect(rendererOf(source).render(messages).text).toBe('<user>\na\r\nb\n');
});

it('further templates of a folder are found by their names', async () => {
  await mkdir(join(folder, 'additional_chat_templates'));
  await writeFile(join(folder, 'chat_template.jinja'), 'plain');
  await writeFile(join(folder, 'additional_chat_templates', 'tool_use.jinja'), 'tools');
  const found = await readTemplates(folder, {});
  const renderer = createRenderer(found?.templates ?? '', { specialTokens: {}, tokenizer: characters });
  expect(renderer.render([{ role: 'user', content: 'a' }]).text).toBe('plain');
  expect(renderer.render([{ role: 'user', content: 'a' }], [{ name: 'f' }]).text).toBe('tools');
});

it('results of tools within a turn of the assistant are not learned', () => {
  const loop =
    '{% for m in messages if m.role != "tool" %}<{{ m.role }}>{{ m.content }}' +
    '{% for r in messages if r.role == "tool" and m.tool_calls %}[result]{{ r.content }}[/result]{% endfor %}' +
    '{{ m.rest }}<end>{% endfor %}';
  const tagged = loop
    .replace('{{ m.content }}', '{% generation %}{{ m.content }}')
    .replace('<end>', '<end>{% endgeneration %}');
  const conversation: Conversation = {
    messages: [
      { role: 'assistant', content: 'call', rest: ' done', tool_calls: [{ function: { name: 'f', arguments: {} } }] },
      { role: 'tool', content: 'SECRET' },
    ],
    form: 'chat',
    origin: { index: 0 },
  };
  for (const template of [loop, tagged]) {
    const makeExample = createExampleMaker({ tokenizer: characters, renderer: rendererOf(template) });
    const { labels } = makeExample(conversation);
    const learned = Array.from(labels, (label) => (label < 0 ? '' : String.fromCharCode(label))).join('');
    expect(learned).toBe('call done<end>');
  }
});

describe('what the template writes around results of tools is not learned', () => {
  const call = (name: string, id: string) => ({ id, function: { name, arguments: { city: 'Oslo' } } });
  const result = (id: string, content: string) => ({ role: 'tool', tool_call_id: id, content });
  const learnedOf = (template: string, messages: Conversation['messages']): string => {
    const makeExample = createExampleMaker({ tokenizer: characters, renderer: rendererOf(template) });
    const { labels } = makeExample({ messages, form: 'chat', origin: { index: 0 } });
    return Array.from(labels, (label) => (label < 0 ? '' : String.fromCharCode(label))).join('');
  };
  const gemma = (version: string): string =>
    (JSON.parse(readFileSync(join(golden, `gemma4${version}.json`), 'utf8')) as { template: string }).template;
  const quote = '<|"|>';
  const written = (name: string): string => `<|tool_call>call:${name}{city:${quote}Oslo${quote}}<tool_call|>`;

  it.each(['', '_v3', '_v4', '_v5'])('Gemma 4%s: two results, then text of the same turn', (version) => {
    const learned = learnedOf(gemma(version), [
      { role: 'user', content: 'q' },
      { role: 'assistant', content: 'then', tool_calls: [call('f', 'a'), call('g', 'b')] },
      result('a', 'SECRET'),
      result('b', 'HIDDEN'),
      { role: 'assistant', content: 'done' },
    ]);
    const end = version === '_v5' ? '' : '<turn|>';
    expect(learned).toBe(`${written('f')}${written('g')}then${end}done<turn|>`);
  });

  it('Gemma 4: a call that continues the turn is learned from its start', () => {
    const learned = learnedOf(gemma('_v5'), [
      { role: 'user', content: 'q' },
      { role: 'assistant', content: null, tool_calls: [call('f', 'a')] },
      result('a', 'SECRET'),
      { role: 'assistant', content: null, tool_calls: [call('g', 'b')] },
      result('b', 'HIDDEN'),
      { role: 'assistant', content: 'done' },
    ]);
    expect(learned).toBe(`${written('f')}${written('g')}done<turn|>`);
  });

  const within = (around: string): string =>
    "{% for m in messages if m.role != 'tool' %}<|im_start|>{{ m.role }}\n{{ m.content }}" +
    '{% for c in m.tool_calls or [] %}<call>{{ c.function.name }}</call>' +
    `${around}{% endfor %}` +
    '{{ m.rest }}<|im_end|>\n{% endfor %}' +
    '{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}';
  const found = '{% set i = loop.index0 %}{{ messages[2 + i].content }}';
  const conversation = [
    { role: 'user', content: 'q' },
    { role: 'assistant', content: 'look', rest: 'done', tool_calls: [call('f', 'a'), call('g', 'b')] },
    result('a', 'SECRET'),
    result('b', 'HIDDEN'),
  ];

  it.each([
    ['markers', `<result>${found}</result>`, '<call>f</call><call>g</call>'],
    ['nested markers', `<outputs><output>${found}</output></outputs>`, '<call>f</call><call>g</call>'],
    ['DeepSeek', `<｜tool▁output▁begin｜>${found}<｜tool▁output▁end｜>`, '<call>f</call><call>g</call>'],
    ['Mistral', `[TOOL_RESULTS]{"content": "${found}"}[/TOOL_RESULTS]`, '<call>f</call><call>g</call>'],
    ['a repeated name', `<result>{{ c.function.name }}: ${found}</result>`, '<call>f</call><call>g</call>'],
    [
      'turns',
      `<|im_end|>\n<|im_start|>tool\n${found}<|im_end|>\n<|im_start|>assistant\n`,
      '<call>f</call><|im_end|><call>g</call><|im_end|>',
    ],
  ])('%s', (_name, around, calls) => {
    expect(learnedOf(within(around), conversation)).toBe(`look${calls}done<|im_end|>`);
  });

  it('results in the message of the assistant itself', () => {
    const template =
      '{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}{% for c in m.tool_calls or [] %}' +
      '<call>{{ c.function.name }}</call><result>{{ c.result }}</result>{% endfor %}' +
      '{% for r in m.tool_responses or [] %}<response>{{ r.response }}</response>{% endfor %}<|im_end|>\n{% endfor %}';
    expect(
      learnedOf(template, [
        { role: 'user', content: 'q' },
        {
          role: 'assistant',
          content: 'look',
          tool_calls: [Object.assign(call('f', 'a'), { result: 'SECRET' })],
          tool_responses: [{ name: 'f', response: 'HIDDEN' }],
        },
      ]),
    ).toBe('look<call>f</call><|im_end|>');
  });
});

describe('tables', () => {
  it.each([
    [
      'v3_oldmac.csv',
      [
        ['a', 'b'],
        ['c', 'd'],
      ],
    ],
    [
      'v12_midquote.csv',
      [
        ['He said "hi"', 'ok'],
        ['a', 'b'],
      ],
    ],
  ])('%s is read as by Python', async (name, rows) => {
    const { conversations, unreadable } = await readCase(casePath(name));
    expect(unreadable).toEqual([]);
    expect(conversations.map(({ messages }) => messages.map(({ content }) => content))).toEqual(rows);
  });

  it('v4_header_with_commas.csv: a separator in a quoted name does not count', async () => {
    const { unreadable } = await readCase(casePath('v4_header_with_commas.csv'));
    // The table has the columns "prompt;x;y" and "completion"; the first is not a known name.
    expect(unreadable).toEqual([{ line: 2, reason: expect.stringContaining('"prompt;x;y", "completion"') as string }]);
  });
});

it('c33_mixed.jsonl: each row is read, or named with its line and the reason', async () => {
  const { conversations, unreadable } = await readCase(casePath('c33_mixed.jsonl'));
  const read = conversations.map(({ origin }) => origin.line);
  expect([...read, ...unreadable.map(({ line }) => line)].sort((a, b) => Number(a) - Number(b))).toEqual(
    Array.from({ length: 13 }, (_, index) => index + 1),
  );
  expect(unreadable).toEqual([
    { line: 3, reason: 'messages[1].content is missing' },
    { line: 6, reason: 'messages is an empty list; expected at least one message' },
    { line: 7, reason: 'messages is null; expected a list of messages' },
  ]);
});

describe('the date that a template writes', () => {
  it('is the same for a whole run', () => {
    let now = new Date('2024-03-07T23:59:59');
    const renderer = createRenderer('{{ strftime_now("%Y-%m-%d") }}', {
      specialTokens: {},
      tokenizer: characters,
      now: () => now,
    });
    now = new Date('2024-03-08T00:00:01');
    expect(renderer.render([{ role: 'user', content: 'a' }]).text).toBe('2024-03-07');
    expect(renderer.time).toBe(new Date('2024-03-07T23:59:59').toISOString());
    expect(rendererOf('{{ messages }}').time).toBeUndefined();
  });

  it('is stored with the run, and found again when it is resumed', async () => {
    const time = '2024-03-07T22:00:00.000Z';
    await saveTemplateTime(folder, time);
    const output = { folder } as ResolvedConfig['output'];
    const resumed = (resumeFromCheckpoint: boolean | string) =>
      savedTemplateTime({ output, training: { resumeFromCheckpoint } as ResolvedConfig['training'] });
    expect(await resumed(true)).toEqual(new Date(time));
    expect(await resumed(join(folder, 'checkpoint-4'))).toEqual(new Date(time));
    expect(await resumed(join(folder, 'abandoned-1', 'checkpoint-4'))).toEqual(new Date(time));
    expect(await resumed(false)).toBeNull();
  });

  it('is that of rank 0 in all processes', async () => {
    const timeOf = async (rank: number): Promise<Date> => {
      const resolution = { config: { output: { folder: null }, training: { resumeFromCheckpoint: null }, model: {} } };
      const context: unknown = { resolution };
      const clock = { now: () => 0, timestamp: () => `2024-03-0${7 + rank}T23:59:59.000Z` };
      const services = createServices([
        ...modelServices(context as Parameters<typeof modelServices>[0]),
        provide(CLOCK, clock),
        provide(RUN_CLUSTER, {
          writes: rank === 0,
          tensors: null,
          gather: async (_, mine) => ['2024-03-07T23:59:59.000Z' as typeof mine, mine],
          workersOn: () => expect.fail(),
          explain: async (error) => error,
          leave: () => undefined,
        }),
      ]);
      return services.resolve(TEMPLATE_TIME);
    };
    for (const rank of [0, 1]) expect(await timeOf(rank)).toEqual(new Date('2024-03-07T23:59:59.000Z'));
  });
});
