import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { defaultsOf } from '@whetstone/core/contract';
import { collect } from '../../testing/files.js';
import { sourceOf } from '../../testing/sources.js';
import { applyTransforms } from '../apply.js';
import { detectPersonalData } from './detectors.js';
import { redactSchema } from './options.js';
import { createRedactTransform, redactText } from './transform.js';

const defaultOptions = defaultsOf(redactSchema);

const readLabelled = (name: string): string[] =>
  readFileSync(new URL(`../../../../../test/labelled/${name}`, import.meta.url), 'utf8')
    .trim()
    .split('\n');

/**
 * A labelled set: personal data in ⟦kind:…⟧, and similar text without marks. Marked numbers have a valid check digit
 * (computed by hand, or official test numbers of the card networks), others an invalid one.
 */
const labelled = readLabelled('personal-data.txt');

interface Labelled {
  readonly text: string;
  readonly spans: readonly string[];
}

function parse(marked: string): Labelled {
  let text = '';
  const spans: string[] = [];
  let position = 0;
  for (const match of marked.matchAll(/⟦([a-z-]+):([^⟧]+)⟧/g)) {
    text += marked.slice(position, match.index);
    spans.push(`${match[1]} ${text.length}-${text.length + (match[2] ?? '').length}`);
    text += match[2];
    position = match.index + match[0].length;
  }
  return { text: text + marked.slice(position), spans };
}

/** Measures the detectors on labelled lines. A detection is correct if its span and kind are correct. */
function measure(lines: readonly string[]): {
  readonly wrong: readonly string[];
  readonly precision: number;
  readonly recall: number;
} {
  const wrong: string[] = [];
  let [right, expected, found] = [0, 0, 0];
  for (const marked of lines) {
    const { text, spans } = parse(marked);
    const detected = detectPersonalData(text, defaultOptions);
    const detectedSpans = detected.map(({ kind, start, end }) => `${kind} ${start}-${end}`);
    right += detectedSpans.filter((span) => spans.includes(span)).length;
    expected += spans.length;
    found += detectedSpans.length;
    if (detectedSpans.join() !== spans.join())
      wrong.push(
        `${marked} → ${detected.map(({ kind, start, end }) => `${kind}:${text.slice(start, end)}`).join(' | ')}`,
      );
  }
  return { wrong, precision: right / found, recall: right / expected };
}

test('precision and recall on the set that the patterns were developed with', () => {
  const { wrong, precision, recall } = measure(labelled);
  expect(wrong).toEqual([]);
  expect([precision, recall]).toEqual([1, 1]);
});

test('precision and recall on a held-out set', () => {
  const { wrong, precision, recall } = measure(readLabelled('personal-data-held-out.txt'));
  // A number with its extension, and a hotline, which is not personal data.
  expect(wrong.map((line) => line.slice(0, 20))).toEqual([
    'Our office number is',
    '热线400-800-8888全天开放。 → ph'.slice(0, 20),
  ]);
  expect(precision).toBeGreaterThan(0.92);
  expect(recall).toBeGreaterThan(0.96);
});

test('equal values have the same placeholder in a conversation', async () => {
  const transform = createRedactTransform();
  const source = applyTransforms(
    sourceOf([
      {
        form: 'chat',
        messages: [
          { role: 'user', content: 'Call 13812345678 or 13912345678' },
          { role: 'assistant', content: 'I will call 138 1234 5678 and write to a@example.com.' },
        ],
      },
    ]),
    [transform],
  );
  const [conversation] = await collect(source.conversations());
  expect(conversation?.messages.map(({ content }) => content)).toEqual([
    'Call [PHONE_1] or [PHONE_2]',
    'I will call [PHONE_1] and write to [EMAIL_1].',
  ]);
  expect(transform.report).toMatchObject({ conversationsIn: 1, conversationsOut: 1, changed: { phone: 3, email: 1 } });
});

test('personal data in reasoning is replaced, in fields and in parts', async () => {
  const parts = [
    { type: 'thinking', thinking: [{ type: 'text', text: 'Write to a@example.com.' }] },
    { type: 'text', text: 'I write to a@example.com.' },
  ];
  const source = applyTransforms(
    sourceOf([
      {
        form: 'chat',
        messages: [
          { role: 'assistant', content: 'Done.', reasoning_content: 'The address is a@example.com.' },
          { role: 'assistant', content: parts },
        ],
      },
    ]),
    [createRedactTransform()],
  );
  const [conversation] = await collect(source.conversations());
  expect(JSON.stringify(conversation)).not.toContain('a@example.com');
  expect(conversation?.messages[0]?.['reasoning_content']).toBe('The address is [EMAIL_1].');
});

test('the action "drop" removes the conversation, with the reason', async () => {
  const transform = createRedactTransform({ action: 'drop' });
  const source = applyTransforms(
    sourceOf([{ form: 'text', messages: [{ role: 'assistant', content: 'a@example.com' }] }]),
    [transform],
  );
  expect(await collect(source.conversations())).toEqual([]);
  expect(transform.report.removals).toEqual([
    { origin: { file: 'memory.jsonl', line: 1, index: 0 }, reason: 'personal-data', detail: 'contains email' },
  ]);
});

test('redaction is idempotent', () => {
  expect(labelled.length).toBeGreaterThan(0);
  for (const marked of labelled) {
    const once = redactText(parse(marked).text, defaultOptions);
    expect(redactText(once, defaultOptions)).toBe(once);
  }
});

/** Units of texts that are not prose: tables of numbers, lists, and text that patterns could match in many ways. */
const units = [
  '1 ',
  '12 ',
  '12.50 3 ',
  '1.',
  '1-',
  '(1) ',
  '+1 ',
  '192.168.1.1 ',
  '1:',
  '9',
  'a@',
  "a'b",
  "o'a@",
  'DE89 ',
  '1 A ',
  '街路',
  '市区街路',
  '李先生',
  'Mr. Ab ',
  '13812345678 ',
];

test.each(units)('redaction takes linear time: %j', (unit) => {
  const seconds = (characters: number): number => {
    // Processor time, which does not depend on other processes.
    const begun = process.cpuUsage();
    redactText(`北京市${unit.repeat(Math.ceil(characters / unit.length))}号`, defaultOptions);
    return process.cpuUsage(begun).user / 1e6;
  };
  seconds(1000);
  // A text of twice the length takes twice as long in linear time, and four times in quadratic time.
  const [half, full] = [50_000, 100_000].map((characters) =>
    Math.min(...Array.from({ length: 3 }, () => seconds(characters))),
  ) as [number, number];
  expect(full).toBeLessThan(3 * half + 0.1);
});

test('phone numbers are found in tables of numbers, and with their extensions', () => {
  const found = (text: string): string[] =>
    detectPersonalData(text, { kinds: ['phone'], countries: ['US', 'GB'] }).map(({ start, end }) =>
      text.slice(start, end),
    );
  const numbers = '1 2 3 4 5 6 7 8 9 10 '.repeat(30);
  expect(found(`${numbers}(212) 736-5000 ${numbers}`)).toEqual(['(212) 736-5000']);
  expect(found(`${numbers}212-736-5000 ${numbers}/ +44 20 7946 0958`)).toEqual(['212-736-5000', '+44 20 7946 0958']);
  expect(found('Dial (212) 736-5000 ext. 123, please')).toEqual(['(212) 736-5000 ext. 123']);
  expect(found('12.50 3.75 8.00 99.95 '.repeat(200))).toEqual([]);
});

test('addresses with several streets and quarters are found, repeated words for streets are not', () => {
  const found = (text: string): string[] =>
    detectPersonalData(text, { kinds: ['address'], countries: [] }).map(({ start, end }) => text.slice(start, end));
  expect(found('他住在江苏省苏州市吴中区木渎镇金山路街道花园新村12幢301室。')).toEqual([
    '江苏省苏州市吴中区木渎镇金山路街道花园新村12幢301室',
  ]);
  expect(found(`北京市${'街路'.repeat(22)}号`)).toEqual([]);
});
