import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { FolderTokenizer } from '../tokenizer/index.js';
import { createRenderer, loadRenderer } from './renderer.js';

/** Tokenizes words, spaces and added tokens `<…>`. */
const words: string[] = [];
const tokenizer = {
  eosTokenId: null,
  specialTokens: { bos_token: '<s>' },
  encodeWithSpans(text: string) {
    const matches = [...text.matchAll(/<[^<>]*>|[^<\s]+|\s+/g)];
    const ids = matches.map(([word]) => (words.includes(word) ? words.indexOf(word) : words.push(word) - 1));
    return {
      ids,
      starts: matches.map(({ index }) => index),
      ends: matches.map(({ index, 0: word }) => index + word.length),
    };
  },
  isAddedToken: (id: number) => /^<.*>$/.test(words[id] ?? ''),
} as unknown as FolderTokenizer;

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'whetstone-renderer-'));
  await writeFile(
    join(folder, 'tokenizer.json'),
    JSON.stringify({
      added_tokens: [],
      model: { type: 'BPE', vocab: { a: 0 }, merges: [] },
      normalizer: null,
      pre_tokenizer: null,
      post_processor: null,
      decoder: null,
    }),
  );
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const chat = [
  { role: 'user', content: 'hi' },
  { role: 'assistant', content: 'yo' },
];
const configure = (config: unknown): Promise<void> =>
  writeFile(join(folder, 'tokenizer_config.json'), JSON.stringify(config));

describe('the template of a folder', () => {
  it('comes from chatTemplatePath, else chat_template.jinja, else tokenizer_config.json', async () => {
    await configure({ chat_template: 'config' });
    expect((await loadRenderer(folder, tokenizer)).render(chat).text).toBe('config');
    await writeFile(join(folder, 'chat_template.jinja'), 'file {{ bos_token }}');
    expect((await loadRenderer(folder, tokenizer)).render(chat).text).toBe('file <s>');
    const other = join(folder, 'other.jinja');
    await writeFile(other, 'given');
    expect((await loadRenderer(folder, tokenizer, { chatTemplatePath: other })).render(chat).text).toBe('given');
    await mkdir(join(folder, 'elsewhere'));
    await writeFile(join(folder, 'elsewhere', 'chat_template.jinja'), 'folder');
    expect(
      (await loadRenderer(folder, tokenizer, { chatTemplatePath: join(folder, 'elsewhere') })).render(chat).text,
    ).toBe('folder');
  });

  it('is chosen by name if there are several', async () => {
    await configure({
      chat_template: [
        { name: 'default', template: 'plain' },
        { name: 'tool_use', template: 'tools' },
      ],
    });
    const renderer = await loadRenderer(folder, tokenizer);
    expect(renderer.render(chat).text).toBe('plain');
    expect(renderer.render(chat, [{ name: 'f' }]).text).toBe('tools');
  });

  it('is not required until it is used', async () => {
    const renderer = await loadRenderer(folder, tokenizer);
    expect(() => renderer.render(chat)).toThrow(/no chat template/);
  });

  it('is rejected with its path if it cannot be parsed or read', async () => {
    await writeFile(join(folder, 'chat_template.jinja'), 'x\n{% if %}');
    await expect(loadRenderer(folder, tokenizer)).rejects.toMatchObject({
      code: 'TEMPLATE_FAILED',
      place: { file: join(folder, 'chat_template.jinja'), line: 2 },
    });
    await expect(
      loadRenderer(folder, tokenizer, { chatTemplatePath: join(folder, 'none.jinja') }),
    ).rejects.toMatchObject({ code: 'TEMPLATE_FAILED' });
  });
});

describe('turns and stop tokens', () => {
  const options = { specialTokens: { bos_token: '<s>', eos_token: '</s>' }, tokenizer };
  const turnsOf = (template: string, messages = chat): (string | null)[] => {
    const { text, turns } = createRenderer(template, options).render(messages);
    return turns.map((turn) => (turn === null ? null : text.slice(turn.start, turn.end)));
  };
  const chatml =
    "{% for m in messages %}{{ '<im>' + m.role + '\\n' + m.content + '<end>\\n' }}{% endfor %}{% if " +
    "add_generation_prompt %}{{ '<im>assistant\\n' }}{% endif %}";

  it.each<[string, string, (string | null)[]]>([
    ['ChatML in one expression', chatml, ['hi<end>', 'yo<end>']],
    [
      'a loop over positions',
      '{% for i in range(messages|length) %}{% set m = messages[i] %}<{{ m.role }}>{{ m.content }}<end>{% endfor %}',
      ['hi<end>', 'yo<end>'],
    ],
    ['no loop', 'U: {{ messages[0].content }} A: {{ messages[1].content }}', ['hi', 'yo']],
    [
      'an end of text after the loop',
      '{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}</s>',
      ['hi', 'yo</s>'],
    ],
    [
      'the opening of the next turn as the end',
      '{% for m in messages + messages %}<{{ m.role }}>\n{{ m.content }}{% endfor %}',
      ['hi', 'yo'],
    ],
    [
      'a dropped message',
      "{% for m in messages if m.role == 'assistant' %}{{ m.content }}<end>{% endfor %}",
      [null, 'yo<end>'],
    ],
    [
      'content that is written twice',
      '{% for m in messages %}<{{ m.role }}>{{ m.content }}|{{ m.content }}<end>{% endfor %}',
      ['hi|hi<end>', 'yo|yo<end>'],
    ],
    [
      "a header without the role's name",
      "{% for m in messages %}{{ '[INST] ' + m.content + ' [/INST]' if m.role == 'user' else ' ' + m.content + " +
        "'</s>' }}{% endfor %}",
      ['hi [/INST]', ' yo</s>'],
    ],
    [
      'tags',
      "{% for m in messages %}<{{ m.role }}>{% if m.role == 'assistant' %}{% generation %}{{ m.content " +
        '}}<end>{% endgeneration %}{% else %}{{ m.content }}<end>{% endif %}{% endfor %}',
      ['hi<end>', 'yo<end>'],
    ],
    [
      "a system message merged into the user's",
      '{% for m in messages %}<{{ m.role }}>{% if loop.first %}You are X. {% endif %}{{ m.content | trim ' +
        '}}<end>{% endfor %}',
      ['hi<end>', 'yo<end>'],
    ],
  ])('%s', (_, template, expected) => {
    expect(turnsOf(template)).toEqual(expected);
  });

  it('a turn without an end of its own ends with the start of the next turn', () => {
    const template =
      '{% for m in messages %}<{{ m.role }}>\n{{ m.content }}{% endfor %}{% if add_generation_prompt ' +
      '%}<assistant>{% endif %}';
    expect(turnsOf(template, [...chat, ...chat])).toEqual(['hi', '\nyo<user>', 'hi', '\nyo']);
  });

  it("stop tokens are the tokens with which the template ends the assistant's turns", () => {
    const { stopTokenIds } = createRenderer(chatml, options);
    expect(stopTokenIds.map((id) => words[id])).toEqual(['<end>']);
  });

  // GLM-4.5 writes calls in markers; GLM-4 writes them as text with metadata, and their results as observations.
  it.each([
    [
      'calls in markers',
      "{% for m in messages %}{% if m.role == 'tool' %}<observation>{% else %}<{{ m.role }}>{% endif %}" +
        '{{ m.content }}' +
        '{% for c in m.tool_calls or [] %}<call>{{ c.function.name }}</call>{% endfor %}{% endfor %}' +
        '{% if add_generation_prompt %}<assistant>{% endif %}',
      ['<user>', '<observation>'],
    ],
    [
      'calls as text',
      "{% for m in messages if m.role != 'system' %}{% if m.role == 'user' %}<user>\n{{ m.content }}" +
        "{% elif m.role == 'assistant' %}<assistant>{{ m.metadata }}\n{{ m.content }}" +
        "{% elif m.role == 'observation' %}<observation>\n{{ m.content }}{% endif %}{% endfor %}" +
        '{% if add_generation_prompt %}<assistant>{% endif %}',
      ['<user>', '<observation>'],
    ],
    [
      'calls in markers before an end of the turn',
      '{% for m in messages %}<{{ m.role }}>{{ m.content }}' +
        '{% for c in m.tool_calls or [] %}<call>{{ c.function.name }}</call>{% endfor %}<end>{% endfor %}',
      ['<end>'],
    ],
  ])('stop tokens include the marker after a tool call: %s', (_, template, expected) => {
    expect(createRenderer(template, options).stopTokenIds.map((id) => words[id])).toEqual(expected);
  });

  it('ordinary words at the end of a turn are not stop tokens', () => {
    expect(
      createRenderer('{% for m in messages %}{{ m.role }}: {{ m.content }} over.\n{% endfor %}', options).stopTokenIds,
    ).toEqual([]);
  });

  it('the hash depends on the template and the special tokens', () => {
    const hash = (template: string, bos: string): string =>
      createRenderer(template, { ...options, specialTokens: { bos_token: bos } }).hash;
    expect(hash('a', '<s>')).toBe(hash('a', '<s>'));
    expect(new Set([hash('a', '<s>'), hash('b', '<s>'), hash('a', '<t>')]).size).toBe(3);
  });

  it('`train` is hidden from templates', () => {
    expect(
      createRenderer('{{ messages[0].train is defined }}', options).render([
        { role: 'user', content: 'a', train: true },
      ]).text,
    ).toBe('False');
  });
});
