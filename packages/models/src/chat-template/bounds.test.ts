import { describe, expect, it } from 'vitest';
import { isWhetstoneError, type WhetstoneError } from '@whetstone/core/contract';
import { lastPositionOf, positionOf, splitAt } from './bounded-text.js';
import { createRenderer } from './renderer.js';
import { compileTemplate } from './template.js';
import { stripTags } from './text-filters.js';
import { linesOfText, replaceText, strip } from './text-methods.js';

const messages = [{ role: 'user', content: 'a' }];

function render(template: string, variables: Readonly<Record<string, unknown>> = {}): string {
  return compileTemplate(template).run({ messages, variables, now: new Date(0) }).text;
}

function failure(template: string, variables: Readonly<Record<string, unknown>> = {}): WhetstoneError {
  try {
    render(template, variables);
  } catch (error) {
    if (isWhetstoneError(error)) return error;
    throw error;
  }
  throw new Error('the template did not fail');
}

const GROW = "{% set n = namespace(x='xxxxxxxxxxxxxxxx') %}{% for i in range(40) %}";
const LISTS = '{% set n = namespace(x=[1]) %}{% for i in range(99999) %}';
const TWICE = '{% set n = namespace(x=[1]) %}{% for i in range(60) %}{% set n.x = [n.x, n.x] %}{% endfor %}';
const REPEATED = `{% set big = 'ab ' * 300000 %}{% for i in range(99999) %}`;
const OUT = '{% endfor %}';

/** Each template needs more than 4 GB or hours without a bound. */
const HOSTILE: readonly (readonly [string, string])[] = [
  ['nested loops', `{% for a in range(99999) %}{% for b in range(99999) %}${OUT}${OUT}`],
  ['a list of a loop in a loop', `{% for a in range(99999) %}{% set x = range(99999)|list %}${OUT}`],
  ['a growing text', `${GROW}{% set n.x = n.x + n.x %}${OUT}`],
  ['a growing text with ~', `${GROW}{% set n.x = n.x ~ n.x %}${OUT}`],
  ['a growing text by replace', `${GROW}{% set n.x = n.x|replace('x', 'xxxxxxxxxx') %}${OUT}`],
  ['a growing text by the method replace', `${GROW}{% set n.x = n.x.replace('', 'xxxxxxxxxx') %}${OUT}`],
  ['a growing text by join', `${GROW}{% set n.x = n.x|join(n.x[:1000]) %}${OUT}`],
  ['a growing text by the method join', `${GROW}{% set n.x = n.x.join([n.x, n.x]) %}${OUT}`],
  ['a growing text by format', `${GROW}{% set n.x = '%s%s' % (n.x, n.x) %}${OUT}`],
  ['a growing text by str.format', `${GROW}{% set n.x = '{0}{0}'.format(n.x) %}${OUT}`],
  ['many escaped texts', `${LISTS}{% set n.x = n.x + [('<' * 999999)|forceescape] %}${OUT}`],
  ['many encoded texts', `${LISTS}{% set n.x = n.x + [('%' * 999999)|urlencode] %}${OUT}`],
  ['a growing text by tojson', `${GROW}{% set n.x = ([n.x]*9)|tojson %}${OUT}`],
  ['a growing text by a block', `${GROW}{% set y %}{{ n.x }}{{ n.x }}{% endset %}{% set n.x = y %}${OUT}`],
  ['a growing text by a macro', `{% macro m(x) %}{{ x }}{{ x }}{% endmacro %}${GROW}{% set n.x = m(n.x) %}${OUT}`],
  ['a growing list', `${GROW}{% set n.x = [1] if i == 0 else n.x + n.x %}${OUT}`],
  ['a growing list of lists', `${LISTS}{% set n.x = n.x + [range(99999)|list] %}${OUT}`],
  ['a growing list of texts', `${LISTS}{% set n.x = n.x + ['y' * 999999] %}${OUT}`],
  ['a growing dict', `${GROW}{% set n.x = dict.fromkeys(range(99999), n.x) %}{% set n.x = n.x|string %}${OUT}`],
  ['a printed list with shared parts', `${TWICE}{{ n.x }}`],
  ['a compared list with shared parts', `${TWICE}{% set m = n.x %}${TWICE}{{ m == n.x }}`],
  ['a list with shared parts as JSON', `${TWICE}{{ n.x|tojson }}`],
  ['a list with shared parts by pprint', `${TWICE}{{ n.x|pprint }}`],
  [
    'a tuple with shared parts as a key',
    `${TWICE.replace('[n.x, n.x]', '(n.x, n.x)').replace('[1]', '1')}{{ {n.x: 1} }}`,
  ],
  ['a repetition', "{{ 'x' * 10 ** 12 }}"],
  ['a repetition of an empty list', '{{ [] * 10 ** 12 }}'],
  ['a range', '{{ range(10 ** 12) }}'],
  ['many ranges', `{% set n = namespace(x=[]) %}{% for i in range(99999) %}{% set n.x = n.x + [range(99999)] %}${OUT}`],
  ['a power', '{{ 9 ** 999999999 }}'],
  ['a product of integers', `${LISTS}{% set n.x = 2 ** 90000 if i == 0 else n.x * n.x %}${OUT}{{ n.x }}`],
  ['many large integers', `{% for i in range(99999) %}{% set x = (2 ** 99999)|string %}${OUT}`],
  ['an integer of a long text', "{{ ('f' * 999999)|int(0, 16) }}"],
  ['a macro that calls itself', '{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}'],
  [
    'two macros that call each other',
    '{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}{{ a() }}{% endmacro %}{{ a() }}',
  ],
  ['a recursive loop', '{% for x in [[1]] recursive %}{{ loop([[1]]) }}{% endfor %}'],
  ['a block that calls itself', '{% block b %}{{ self.b() }}{% endblock %}'],
  ['center', "{{ 'x'|center(10 ** 12) }}"],
  ['the method center', "{{ 'x'.center(10 ** 12) }}"],
  ['ljust', "{{ 'x'.ljust(10 ** 12) }}"],
  ['rjust', "{{ 'x'.rjust(10 ** 12) }}"],
  ['zfill', "{{ '1'.zfill(10 ** 12) }}"],
  ['expandtabs', "{{ '\\t'.expandtabs(10 ** 12) }}"],
  [
    'many centered texts',
    `{% set n = namespace(x=[]) %}{% for i in range(99999) %}{% set n.x = n.x + ['x'|center(999999)] %}${OUT}`,
  ],
  ['indent', "{{ ('\\n' * 999999)|indent(999, true, true) }}"],
  ['the width of indent', "{{ 'x'|indent(10 ** 12, true) }}"],
  ['the indentation of JSON', '{{ [[[[[1]]]]]|tojson(indent=10 ** 12) }}'],
  ['the text of an indentation of JSON', "{{ ([[1]] * 999999)|tojson(indent='x' * 99999) }}"],
  ['the width of %', "{{ '%999999999999d' % 1 }}"],
  ['the precision of %', "{{ '%.999999999d' % 1 }}"],
  ['the precision of %g', "{{ '%.999999999g' % 1.5 }}"],
  ['the precision of a field', "{{ '{:.999999999g}'.format(1.5) }}"],
  ['the width of a field', "{{ '{:999999999999}'.format(1) }}"],
  ['batch', "{{ [1]|batch(10 ** 12, 'x')|list }}"],
  ['slice', '{{ [1]|slice(10 ** 12)|list }}'],
  ['wordwrap', "{{ ('x ' * 499999)|wordwrap(1, wrapstring='y' * 999999) }}"],
  ['sum of lists', '{{ ([[1] * 9999] * 9999)|sum(start=[]) }}'],
  ['sort', `{% for i in range(99999) %}{% set x = range(99999)|sort %}${OUT}`],
  ['map', `{% set l = range(99999)|list %}{% for i in range(99999) %}{% set x = l|map('string')|list %}${OUT}`],
  ['select', `{% set l = range(99999)|list %}{% for i in range(99999) %}{% set x = l|select('none')|list %}${OUT}`],
  ['a slice of a list', `{% set l = range(99999)|list %}{% for i in range(99999) %}{% set x = l[1:] %}${OUT}`],
  ['in, of a list', `{% set l = range(99999)|list %}{% for i in range(99999) %}{% set x = 'a' in l %}${OUT}`],
  ['in, of a text', "{% set a = 'a' * 999999 %}{% for i in range(99999) %}{% set x = 'b' in a %}{% endfor %}"],
  ['groupby', `{% set l = [{'a': 1}] * 99999 %}{% for i in range(99999) %}{% set x = l|groupby('a') %}${OUT}`],
  ['a text in each operation', `${REPEATED}{% set x = big|upper %}${OUT}`],
  ['the length of a text', `${REPEATED}{% set x = big|length %}${OUT}`],
  ['the words of a text', `${REPEATED}{% set x = big.split() %}${OUT}`],
  ['the lines of a text', `${REPEATED}{% set x = big.splitlines() %}${OUT}`],
  ['an index of a text', `${REPEATED}{% set x = big[5] %}${OUT}`],
  ['a comparison of texts', `${REPEATED}{% set x = big < big ~ 'x' %}${OUT}`],
  ['a key', `${REPEATED}{% set x = {}[big ~ i] %}${OUT}`],
  ['a path', `${REPEATED}{% set x = [{}]|map(attribute='a.' * 99999, default={})|list %}${OUT}`],
  ['deep parentheses', `{{ ${'('.repeat(5000)}1${')'.repeat(5000)} }}`],
  ['deep lists', `{{ ${'['.repeat(5000)}1${']'.repeat(5000)} }}`],
  ['deep conditions', `${'{% if true %}'.repeat(5000)}${'{% endif %}'.repeat(5000)}`],
  ['deep negations', `{{ ${'not '.repeat(500_000)}1 }}`],
  ['deep signs', `{{ ${'- '.repeat(500_000)}1 }}`],
  ['a deep value', `${LISTS}{% set n.x = [n.x] %}${OUT}{{ n.x }}`],
  ['a template of 5 MB', 'x'.repeat(5_000_000)],
];

describe('a hostile template ends in an error that names the bound', () => {
  it.each(HOSTILE)(
    '%s',
    (_, template) => {
      expect(failure(template)).toMatchObject({
        code: 'TEMPLATE_LIMIT',
        expected: expect.stringMatching(/^(?:at most \d+ [a-zA-Z- ]+|the (?:depth|longest|largest) .+)$/) as string,
        hint: expect.stringContaining('bounded') as string,
      });
    },
    120_000,
  );
});

it('a hostile template is not repeated for every probe of the renderer', () => {
  const loop = '{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}';
  const tokenizer = { eosTokenId: null } as never;
  const renderer = createRenderer(loop, { specialTokens: {}, tokenizer });
  expect(() => renderer.stopTokenIds).toThrow(expect.objectContaining({ code: 'TEMPLATE_LIMIT' }) as Error);
});

it('a nested message is an error with a code', () => {
  for (const levels of [201, 50_000]) {
    let content: unknown = 'x';
    for (let depth = 0; depth < levels; depth++) content = [content];
    const limit = expect.objectContaining({ code: 'TEMPLATE_LIMIT', expected: 'at most 200 levels' }) as Error;
    const run = (messages: unknown[], variables: Record<string, unknown>) => () =>
      compileTemplate('x').run({ messages, variables, now: new Date(0) });
    expect(run([{ role: 'user', content }], {})).toThrow(limit);
    expect(run([], { content })).toThrow(limit);
  }
});

const MEGABYTE = 1_000_000;
const spaces = ' '.repeat(MEGABYTE);

// Each of these was quadratic: one megabyte took from half a minute to hours. The time-out of the test is the bound.
describe('one megabyte of the worst text', () => {
  it('is trimmed', () => {
    expect(strip(`x${spaces}y`, null)).toBe(`x${spaces}y`);
    expect(strip(`${spaces}y${spaces}`, null)).toBe('y');
    expect(render('{{ t|trim }}', { t: `x${spaces}y${spaces}` })).toBe(`x${spaces}y`);
  }, 60_000);

  it('is part of a template', () => {
    expect(render(`x${spaces}y{{- 1 -}}${spaces}z`)).toBe(`x${spaces}y1z`);
    const calls = Array.from({ length: 100_000 }, (_, at) => `k${at}=1`).join(',');
    expect(render(`{{ dict(${calls})|length }}`)).toBe('100000');
  }, 60_000);

  it('is split from the right', () => {
    expect(render("{{ t.rsplit('a')|length }}", { t: 'a'.repeat(400_000) })).toBe('400001');
  }, 60_000);

  it('has unclosed tags', () => {
    expect(() => stripTags('<'.repeat(MEGABYTE))).toThrow(/unclosed/);
    expect(() => stripTags('<!--'.repeat(MEGABYTE / 4))).toThrow(/unclosed/);
    expect(() => render('{{ t % 1 }}', { t: '%('.repeat(MEGABYTE / 2) })).toThrow(/format/);
  }, 60_000);

  it('is searched for half of it', () => {
    const half = 'a'.repeat(MEGABYTE / 2);
    const text = 'a'.repeat(MEGABYTE);
    expect(positionOf(text, `b${half}`)).toBe(-1);
    expect(lastPositionOf(text, `${half}b`)).toBe(-1);
    expect(lastPositionOf(text, half)).toBe(MEGABYTE / 2);
    expect(render('{{ n in t }}', { t: text, n: `b${half}` })).toBe('False');
  }, 60_000);

  it('is wrapped', () => {
    expect(render('{{ t|wordwrap(10)|length }}', { t: 'x'.repeat(MEGABYTE) })).toBe(String(1.1 * MEGABYTE - 1));
  }, 60_000);
});

describe('operations in linear time give the results of Python', () => {
  // python3: 'aXbXc'.split('X', 1), 'aaa'.rsplit('aa'), …; worked by hand from the definition for long separators.
  const long = 'ab'.repeat(12);
  it('splits', () => {
    expect(splitAt('aXbXc', 'X', 1)).toEqual(['a', 'bXc']);
    expect(splitAt(`1${long}2${long}3`, long)).toEqual(['1', '2', '3']);
    expect(splitAt(`${long}ab`, long)).toEqual(['', 'ab']);
    expect(splitAt(long, long)).toEqual(['', '']);
    expect(render('{{ t.rsplit(s) }}', { t: `ab${long}x`, s: long })).toBe("['ab', 'x']");
    expect(render("{{ 'aaa'.rsplit('aa') }}")).toBe("['a', '']");
    expect(render("{{ 'aaa'.split('aa') }}")).toBe("['', 'a']");
    expect(render("{{ 'a,b,c'.rsplit(',', 1) }}")).toBe("['a,b', 'c']");
  });

  it('finds', () => {
    for (const [text, searched] of [
      [`x${long}${long}`, long],
      [`${long}y`, long],
      ['aaaaaaaaaaaaaaaaaaaaaaaaaaaaab', 'aaaaaaaaaaaaaaaaaaaab'],
      ['short', long],
    ] as const) {
      expect(positionOf(text, searched)).toBe(text.indexOf(searched));
      expect(lastPositionOf(text, searched)).toBe(text.lastIndexOf(searched));
    }
  });

  it('replaces, trims and cuts lines', () => {
    expect(replaceText('aaaa', 'a', 'b', 2)).toBe('bbaa');
    expect(replaceText('ab', '', '-', -1)).toBe('-a-b-');
    expect(strip('\x1c\x85\u3000 x\ufeff\u200b ', null)).toBe('x\ufeff\u200b');
    expect(linesOfText('a\r\nb\n\nc')).toEqual(['a', 'b', '', 'c']);
    expect(render("{{ '{:,}'.format(1234567) }} {{ '{:_x}'.format(123456789) }}")).toBe('1,234,567 75b_cd15');
    expect(render("{{ 'a b-less <b>c</b> <!-- d -->e'|striptags }}")).toBe('a b-less c e');
    expect(render("{{ '12é34'|int(7) }} {{ ('9' * 4301)|int(7) }}")).toBe('7 7');
  });
});
