import { describe, expect, test } from 'vitest';
import { characterTokenizer, plainRenderer } from '../testing/fakes.js';
import { chat, sourceOf } from '../testing/sources.js';
import { analyseData } from './analyse.js';
import { checkGate, enforceGate, readGate } from './gate.js';
import { histogramOf } from './histogram.js';
import { reportToHtml } from './html.js';
import { languageOf } from './language.js';
import { outlyingLosses } from './suspects.js';
import { balanceOf } from './topics.js';

const conversations = [
  chat('Where is my parcel?', 'It is on its way and will arrive tomorrow.'),
  chat('Where is my parcel?', 'It is on its way and will arrive tomorrow!'),
  chat('Where is my parcel?', 'Nobody here knows anything about you.'),
  chat('How do I return <b>shoes</b>?', 'Send them back within thirty days & keep the receipt.'),
  chat('你好，我的包裹在哪里？', '您好，您的包裹明天送达，请耐心等待。'),
  chat('Tell me more', ''),
];

const analyse = () =>
  analyseData({
    title: 'A test <of> reports',
    source: sourceOf(conversations),
    tokenizing: { tokenizer: characterTokenizer, renderer: plainRenderer },
    options: { maxLength: 60 },
  });

describe('the report', () => {
  test('counts, finds duplicates, contradictions and languages', async () => {
    const report = await analyse();
    expect(report).toMatchObject({
      conversations: 6,
      messages: 12,
      duplicates: { exact: 1, near: 0 },
      languages: { English: 4, Chinese: 1, 'other (Latin)': 1 },
    });
    expect(
      report.suspects.first.filter(({ reason }) => reason === 'contradiction').map(({ origin }) => origin.line),
    ).toEqual([3]);
    expect(report.worst[0]?.origin.line).toBe(6);
    expect(report.tokens).toMatchObject({ truncated: 4, supervision: { turns: 6, withoutStop: { count: 0 } } });
  });

  test('as an HTML page: text is escaped, nothing is loaded, target tokens are marked', async () => {
    const html = reportToHtml(await analyse());
    expect(html).toContain('A test &#60;of&#62; reports');
    expect(html).not.toContain('<b>shoes</b>');
    expect(html).not.toMatch(/<script|https?:|src=|@import|url\(/);
    expect(html).toContain('<mark class="learned">It is on its way');
    expect(html).toContain('<mark class="cut">');
    for (const tag of ['section', 'table', 'svg', 'mark', 'div', 'span']) {
      expect(html.split(`<${tag}`).length, tag).toBe(html.split(`</${tag}>`).length);
    }
  });

  test('without a tokenizer and without data', async () => {
    const report = await analyseData({ title: 'Empty', source: sourceOf([]) });
    expect(report.tokens).toBeNull();
    expect(reportToHtml(report)).not.toContain('NaN');
  });

  test('a gate lists every violated rule', async () => {
    const report = await analyse();
    expect(
      checkGate(report, { minConversations: 5, maxDuplicates: 0.1 }).map(({ rule, passed }) => [rule, passed]),
    ).toEqual([
      ['minConversations', true],
      ['maxDuplicates', false],
    ]);
    expect(() => enforceGate(report, { maxDuplicates: 0.5 })).not.toThrow();
    expect(() => enforceGate(report, { maxDuplicates: 0.1, minSupervised: 0.99 })).toThrow(
      expect.objectContaining({
        code: 'DATA_QUALITY',
        problems: [
          expect.objectContaining({ message: 'maxDuplicates' }),
          expect.objectContaining({ message: 'minSupervised' }),
        ],
      }),
    );
  });

  test('an invalid gate is an error', () => {
    expect(readGate({ maxDuplicates: 0.1 })).toEqual({ maxDuplicates: 0.1 });
    for (const wrong of [{ maxDuplicate: 0.1 }, { minMeanScore: '60' }, {}, [], null])
      expect(() => readGate(wrong)).toThrow(expect.objectContaining({ code: 'CONFIG_INVALID' }));
  });

  test('the page shows the components of scores, and limits in the units of the rule', async () => {
    const report = await analyse();
    const html = reportToHtml(report, checkGate(report, { maxDuplicates: 0.005, minMeanScore: 60 }));
    expect(html).toMatch(/complete 0 · concise 100 · consistent 100/);
    expect(html).toMatch(/duplicates, at most<\/td><td>0\.5 %<\/td><td>16\.7 %/);
    expect(html).toMatch(/mean score, at least<\/td><td>60</);
  });

  test('difficulty and outlying losses, with a model', async () => {
    const report = await analyseData({
      title: 'Losses',
      source: sourceOf(Array.from({ length: 30 }, (_, index) => chat(`question ${index}`, `answer ${index * 17}`))),
      lossesOf: async (conversations) =>
        conversations.map(({ origin }) =>
          origin.index === 7 ? 9 : origin.index === 8 ? null : 2 + (origin.index % 5) / 10,
        ),
    });
    expect(report.difficulty?.losses.count).toBe(29); // one has no target tokens
    expect(report.difficulty?.hardest[0]).toMatchObject({ origin: { index: 7 }, loss: 9 });
    expect(reportToHtml(report)).toContain('Hardest');
    expect(
      report.suspects.first.filter(({ reason }) => reason === 'outlying-loss').map(({ origin }) => origin.index),
    ).toEqual([7]);
    expect(outlyingLosses([])).toEqual([]);
  });
});

test('languages', () => {
  expect(
    [
      'What is your name?',
      '你叫什么名字？',
      'あなたの名前は何ですか',
      '이름이 무엇입니까',
      'Как тебя зовут?',
      '123',
    ].map(languageOf),
  ).toEqual(['English', 'Chinese', 'Japanese', 'Korean', 'Russian and others (Cyrillic)', 'no letters']);
  expect(languageOf('Ich hätte gern gewusst, wann meine Bestellung endlich geliefert wird.')).toBe('German');
});

test('histograms count every value once', () => {
  const values = Array.from({ length: 1000 }, (_, index) => (index * index) % 997);
  const { counts, bounds } = histogramOf(values);
  expect(counts.reduce((sum, count) => sum + count, 0)).toBe(1000);
  counts.forEach((count, bin) =>
    expect(
      values.filter(
        (value) => value >= (bounds[bin] ?? 0) && (bin === counts.length - 1 || value < (bounds[bin + 1] ?? 0)),
      ),
    ).toHaveLength(count),
  );
});

test('balance is 1 for equal shares, and near 0 if one topic has almost all conversations', () => {
  expect(balanceOf([5, 5, 5, 5])).toBeCloseTo(1, 12);
  expect(balanceOf([1000, 1])).toBeLessThan(0.02);
});
