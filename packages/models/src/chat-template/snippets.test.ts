import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { isWhetstoneError } from '@whetstone/core/contract';
import { parseExact } from '@whetstone/core/util';
import { compileTemplate } from './template.js';

// Texts and errors of Jinja2; testing/make_jinja_snippets.py writes them.

interface Case {
  readonly template: string;
  readonly text?: string;
  readonly error?: string;
  /** The text contains an address, which differs in every run. */
  readonly unstable?: true;
}
interface Snippets {
  readonly context: Readonly<Record<string, unknown>> & { readonly messages: readonly unknown[] };
  readonly cases: readonly Case[];
}
const { context, cases } = parseExact(
  readFileSync(new URL('testing/jinja-snippets.json', import.meta.url), 'utf8'),
) as Snippets;
const { messages, ...variables } = context;

/** Renders a template; an error is an object with its message. */
function render(template: string): string | { readonly refused: string } {
  try {
    return compileTemplate(template).run({ messages, variables, now: new Date(0) }).text;
  } catch (error) {
    if (isWhetstoneError(error) && /^TEMPLATE_(?:FAILED|LIMIT)$/.test(error.code)) return { refused: error.message };
    throw error;
  }
}

/** Valid templates that are refused, with part of the message. */
const refused: readonly (readonly [string, RegExp])[] = [
  ["{{ 'x'.encode() }}", /encode\(\) is not supported/],
  ["{{ 'http://x.y'|urlize }}", /'urlize' is not supported/],
  ['{{ [1,2,3]|random }}', /render equally every time/],
  ['{{ lipsum()|length > 0 }}', /render equally every time/],
  ['{% autoescape true %}{{ html }}{% endautoescape %}', /autoescape is supported only with false/],
  ['{{ 2.5 ** 2.25 }}', /an exponent such as 3, -2 or 0.5/],
  // Almost, and exactly, between two floats.
  ['{{ 2.5 ** 2.5 }}', /depends on the C library/],
  ['{{ 0.5 ** 1075 }}', /depends on the C library/],
  // Jinja evaluates a slice of a constant before it runs, and drops the error.
  ['{{ 5[1:] }}', /'int' object cannot be sliced/],
];

it.each(cases)('$template', ({ template, text, unstable }) => {
  const result = render(template);
  const known = refused.find(([written]) => written === template);
  if (known !== undefined) expect(result).toMatchObject({ refused: expect.stringMatching(known[1]) as string });
  else if (text === undefined || unstable === true) expect(result).toHaveProperty('refused');
  else expect(result).toBe(text);
});

it('has cases', () => {
  expect(cases.filter(({ text }) => text !== undefined).length).toBeGreaterThan(400);
});
