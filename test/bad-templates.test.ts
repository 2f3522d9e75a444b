import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { analyseData } from '../packages/data/src/report/analyse.js';
import { createBatchSource, createConversationSource } from '@whetstone/data';
import { loadTokenizer } from '@whetstone/models';
import { createRenderer } from '../packages/models/src/chat-template/renderer.js';
import { goldenPath } from './support/golden.js';

const folder = mkdtempSync(join(tmpdir(), 'whetstone-templates-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const row = (role: string, content: string): string =>
  `${JSON.stringify({
    messages: [
      { role, content },
      { role: 'assistant', content: 'Yes.' },
    ],
  })}\n`;
const file = join(folder, 'train.jsonl');
writeFileSync(file, row('user', 'Hello?') + row('user', 'Open?') + row('system', 'Be kind.'));

const body = "{% for message in messages %}<{{ message['role'] }}>{{ message['content'] }}<end>{% endfor %}";
const onThird = (statement: string): string => `{% if messages[0]['role'] == 'system' %}${statement}{% endif %}${body}`;

test.each([
  [
    'throws',
    onThird("{{ raise_exception('No system messages, please') }}"),
    /No system messages, please/,
    'TEMPLATE_FAILED',
  ],
  ['reads what is not there', onThird('{{ nothing.at.all }}'), /undefined/, 'TEMPLATE_FAILED'],
  [
    'loops without an end',
    onThird('{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}'),
    /does not terminate/,
    'TEMPLATE_LIMIT',
  ],
  [
    'calls itself without an end',
    `{% macro again() %}{{ again() }}{% endmacro %}${onThird('{{ again() }}')}`,
    /infinite recursion/,
    'TEMPLATE_LIMIT',
  ],
  [
    'writes without an end',
    onThird(
      "{% set ns = namespace(text='x') %}{% for a in range(99) %}{% set ns.text = ns.text + ns.text %}{% endfor %}",
    ),
    /too long/,
    'TEMPLATE_LIMIT',
  ],
])(
  "a template that %s is an error with the conversation's file and line",
  async (_, template, message, code) => {
    const tokenizer = await loadTokenizer(goldenPath('tokenizers', 'qwen-bpe'));
    const renderer = createRenderer(template, { specialTokens: {}, tokenizer });
    const source = await createConversationSource({ path: file }, folder);
    const expected = {
      code,
      message: expect.stringMatching(message) as string,
      place: { file, line: 3 },
    };
    await expect(
      createBatchSource({ source, tokenizer, renderer, options: { supervisionProof: 'off' } }),
    ).rejects.toMatchObject(expected);
    await expect(
      analyseData({ title: 'templates', source, tokenizing: { tokenizer, renderer } }),
    ).rejects.toMatchObject(expected);
  },
  60_000,
);
