import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { defaultsOf, type Conversation, type DataTransform, type Message, type Plugin } from '@whetstone/core/contract';
import { dataPlugins } from '../plugins.js';
import { analyseData } from '../report/analyse.js';
import { reportToHtml } from '../report/html.js';
import { asLines, collect, temporaryFolder, writeInto } from '../testing/files.js';
import { sourceOf } from '../testing/sources.js';
import { applyTransforms } from './apply.js';
import { normalizeText } from './normalize/transform.js';
import { redactText } from './redact/transform.js';
import { redactSchema } from './redact/options.js';

const piece = fc.constantFrom(
  'a',
  'Hello ',
  '你好',
  '，',
  '!',
  '。',
  ' ',
  '\n',
  '```',
  '`',
  '13812345678',
  'a@b.co',
  '@',
  '4111 1111 1111 1111',
  '::1',
  '1.2.3.4',
  '北京市',
  '海淀区',
  '路',
  '街',
  '号',
  '1',
  '-',
  '+44',
  'Mr. ',
  'My name is ',
  'John',
  '我叫',
  '李',
  '[PHONE_1]',
  'https://x.y/z',
  '\u200d',
  '👨‍👩‍👧',
  '\ufe0f',
  '(',
  ')',
  '“',
  'http',
  '\t',
  '\u3000',
  'Ａ',
);
const text = fc.array(piece, { maxLength: 30 }).map((pieces) => pieces.join(''));
const message = fc.record({
  role: fc.constantFrom('system', 'user', 'assistant', 'tool', 'other'),
  content: fc.oneof(
    text,
    fc.constant(null),
    fc.array(
      text.map((part) => ({ type: 'text', text: part })),
      { maxLength: 3 },
    ),
  ),
});
const conversation = fc.record({
  form: fc.constantFrom('chat' as const, 'completion' as const, 'text' as const),
  messages: fc.array(message as fc.Arbitrary<Message>, { minLength: 1, maxLength: 6 }),
});

/** Options of transforms that have required options. */
const needed: Readonly<Record<string, Record<string, unknown>>> = {
  decontaminate: { benchmarks: ['benchmark.jsonl'] },
  'augment-synonyms': { rate: 1, dictionary: 'words.txt' },
  'augment-turns': { rate: 1 },
};
/** Transforms that need a server are tested separately. */
const excluded = new Set(['augment-paraphrase']);
const cleaners = dataPlugins.filter(({ kind, name }) => kind === 'data-transform' && !excluded.has(name));

const folder = temporaryFolder();
writeInto(
  folder,
  'benchmark.jsonl',
  asLines([{ prompt: 'Hello 你好 My name is John and 13812345678 is a number', completion: '' }]),
);
writeInto(folder, 'words.txt', 'hello\thi\n你好\t您好\n');
const silent = { debug() {}, info() {}, warn() {}, error() {} };

/** Returns a plugin's options with the defaults of its schema. */
function optionsOf({ name, configSchema }: Plugin): never {
  const properties = (configSchema['properties'] ?? {}) as Readonly<Record<string, { readonly default?: unknown }>>;
  const defaults = Object.fromEntries(
    Object.entries(properties).flatMap(([key, schema]) => ('default' in schema ? [[key, schema.default]] : [])),
  );
  return { ...defaults, ...needed[name] } as never;
}

const makeAll = (): Promise<DataTransform[]> =>
  Promise.all(
    cleaners.map(
      async (plugin) =>
        (await plugin.create(optionsOf(plugin), {
          logger: silent,
          seed: 1,
          baseFolder: folder,
          outputFolder: null,
        })) as DataTransform,
    ),
  );

test('all transforms of the package are tested', () => {
  expect(cleaners.map(({ name }) => name)).toEqual(
    expect.arrayContaining([
      'normalize-text',
      'quality-filter',
      'redact',
      'deduplicate',
      'decontaminate',
      'augment-synonyms',
      'augment-turns',
    ]),
  );
});

test('any conversation passes every transform, alone and in sequence, and the report', async () => {
  const alone = await makeAll();
  const together = await makeAll();
  await fc.assert(
    fc.asyncProperty(fc.array(conversation, { maxLength: 6 }), async (conversations) => {
      for (const transforms of [...alone.map((one) => [one]), together]) {
        const kept = await collect(applyTransforms(sourceOf(conversations), transforms).conversations());
        for (const { report } of transforms) {
          if (!report) continue;
          const removed = Object.values(report.removed).reduce((sum, count) => sum + count, 0);
          expect(report.removals).toHaveLength(removed);
          expect(report.conversationsOut).toBe(report.conversationsIn - removed + (report.changed['added'] ?? 0));
        }
        expect(kept.every(({ messages }: Conversation) => messages.length > 0)).toBe(true);
      }
      expect(reportToHtml(await analyseData({ title: 'any', source: sourceOf(conversations) }))).not.toMatch(
        /NaN|undefined/,
      );
    }),
    { numRuns: 20 },
  );
});

describe('long texts take linear time', () => {
  test.each([
    ['addresses that never end', '北京市海淀区中关村大街'.repeat(2000)],
    ['Chinese without an end', '我'.repeat(40_000)],
    ['roads', '路'.repeat(40_000)],
    ['numbers', '1'.repeat(40_000)],
    ['numbers with spaces', '1 '.repeat(8000)],
    ['dots', 'a.'.repeat(20_000)],
    ['at signs', 'a@'.repeat(20_000)],
    ['colons', '1:'.repeat(8000)],
    ['capitals', 'Aa Bb '.repeat(8000)],
    ['numbers before capitals', '12 Aa Bb Cc '.repeat(4000)],
    ['letters and numbers', 'AB12 CD34 '.repeat(5000)],
    ['backticks', '`'.repeat(20_000)],
    ['marks', '!？'.repeat(20_000)],
    ['spaces', ' '.repeat(40_000)],
    ['spaces at the ends of lines', `${'a'.padEnd(200)}\n`.repeat(300)],
    ['brackets', '你('.repeat(20_000)],
  ])('%s', (_, long) => {
    // A text of four times the length takes 4 times as long in linear time, and 16 times in quadratic time.
    const cpu = (text: string): number => {
      const before = process.cpuUsage();
      redactText(text, defaultsOf(redactSchema));
      normalizeText(text);
      const { user, system } = process.cpuUsage(before);
      return (user + system) / 1000;
    };
    const quarter = long.slice(0, Math.floor(long.length / 4));
    cpu(quarter.slice(0, 1000));
    const short = cpu(quarter);
    expect(cpu(long)).toBeLessThan(10 * short + 500);
  });
});
