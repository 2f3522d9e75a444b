import { readFileSync } from 'node:fs';
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isWhetstoneError } from '@whetstone/core/contract';
import { compileTemplate } from './template.js';

interface Reference {
  readonly messages: readonly unknown[];
  readonly now: string;
  readonly cases: readonly { readonly template: string; readonly text?: string; readonly error?: string }[];
}
const reference = JSON.parse(readFileSync(new URL('testing/jinja-cases.json', import.meta.url), 'utf8')) as Reference;

const render = (template: string, messages: readonly unknown[] = reference.messages): string =>
  compileTemplate(template, 'chat_template.jinja').run({
    messages,
    variables: { tools: null, documents: null, add_generation_prompt: false },
    now: new Date(reference.now),
  }).text;

function errorOf(run: () => unknown): { readonly code: string; readonly message: string; readonly place: unknown } {
  try {
    return { code: `none: ${JSON.stringify(run())}`, message: '', place: undefined };
  } catch (error) {
    if (isWhetstoneError(error)) return { code: error.code, message: error.message, place: error.place };
    throw error;
  }
}

describe('renders like transformers and Jinja', () => {
  it.each(reference.cases.map((example) => [example.template, example] as const))('%s', (template, { text, error }) => {
    if (error === undefined) expect(render(template)).toBe(text);
    else {
      const { code, message } = errorOf(() => render(template));
      expect(code).toBe(template.includes('range(100001)') ? 'TEMPLATE_LIMIT' : 'TEMPLATE_FAILED');
      if (error.startsWith('TemplateError: ')) expect(message).toBe(error.slice('TemplateError: '.length));
    }
  });
});

describe('an invalid template', () => {
  it('reports its file and the line of the syntax error', () => {
    const { code, place } = errorOf(() => render('line one\n{% if true %}\n{{ 1 + }}\n{% endif %}'));
    expect(code).toBe('TEMPLATE_FAILED');
    expect(place).toMatchObject({ file: 'chat_template.jinja', line: 3 });
  });

  it.each([
    ['nested loops', '{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}'],
    ['a macro that calls itself', '{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}'],
    [
      'a text that doubles repeatedly',
      '{% set ns = namespace(s="aaaaaaaaaaaaaaaa") %}{% for i in range(60) %}{% set ns.s = ns.s + ns.s %}{% endfor %}',
    ],
    ['endless output', `{% for a in range(99999) %}{{ "${'x'.repeat(2000)}" }}{% endfor %}`],
    ['a huge repetition', '{{ "a" * 1000000000 }}'],
  ])('does not hang: %s', (_, template) => {
    expect(errorOf(() => render(template)).code).toBe('TEMPLATE_LIMIT');
  });

  it('reports an unclosed tag', () => {
    expect(errorOf(() => render('{% generation %}{{ 1 }}')).code).toBe('TEMPLATE_FAILED');
  });

  it('throws only errors with a code for arbitrary templates', () => {
    const fragment = fc.constantFrom(
      '{{',
      '}}',
      '{%',
      '%}',
      '{#',
      '#}',
      ' for ',
      ' in ',
      ' if ',
      ' else ',
      ' endif ',
      ' endfor ',
      ' set ',
      ' x ',
      ' = ',
      ' messages ',
      '[0]',
      '.content',
      '|trim',
      '(',
      ')',
      "'a'",
      ' 1 ',
      '+',
      '~',
      'macro m()',
      'endmacro',
      ' generation ',
      ' endgeneration ',
      '\n',
      '-',
    );
    fc.assert(
      fc.property(fc.array(fragment, { maxLength: 14 }), (fragments) => {
        const { code } = errorOf(() => render(fragments.join('')));
        expect(code === 'TEMPLATE_FAILED' || code.startsWith('none')).toBe(true);
      }),
      { numRuns: 3000 },
    );
  });
});

describe('provenance', () => {
  const traces = (template: string, messages: readonly unknown[]): string[] => {
    const { text, traces: found } = compileTemplate(template).run({ messages, variables: {}, now: new Date() });
    return found
      .filter(({ kind, start, end }) => kind === 'content' && end > start)
      .map(({ start, end, message }) => `${message}:${text.slice(start, end)}`);
  };
  const messages = [
    { role: 'user', content: ' ab ' },
    { role: 'assistant', content: 'x</t>y', tool_calls: [{ name: 'f', arguments: { n: 1 } }] },
  ];

  it.each<[string, string, string[]]>([
    ['joined', "{{ '<' + messages[0].content + '>' ~ messages[1].content }}", ['0: ab ', '1:x</t>y']],
    ['trimmed', "{{ '[' + messages[0]['content'] | trim + ']' }}", ['0:ab']],
    ['split', "{{ messages[1].content.split('</t>')[-1] }}", ['1:y']],
    ['sliced', '{{ messages[1].content[1:4] }}', ['1:</t']],
    [
      'through a variable, a macro and a block',
      '{% macro m(t) %}<{{ t }}>{% endmacro %}{% set v %}{{ m(messages[0].content) }}{% endset %}{{ v | trim }}',
      ['0: ab '],
    ],
    ['as JSON', '{{ messages[1].tool_calls | tojson }}', ['1:[{"name": "f", "arguments": {"n": 1}}]']],
    ['of no message', "{{ 'ab' }}{{ messages | length }}", []],
  ])('%s', (_, template, expected) => {
    expect(traces(template, messages)).toEqual(expected);
  });
});
