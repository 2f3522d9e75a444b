import { describe, expect, test } from 'vitest';
import { characterTokenizer, plainRenderer } from '../testing/fakes.js';
import { chat, sourceOf } from '../testing/sources.js';
import { applyTransforms } from '../transforms/apply.js';
import { createDeduplicateTransform } from '../transforms/duplicates/transform.js';
import { createQualityTransform } from '../transforms/quality/transform.js';
import { analyseData } from './analyse.js';
import { checkGate, enforceGate, readGate } from './gate.js';
import { histogramOf } from './histogram.js';
import { reportToHtml } from './html.js';
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

test.each([
  [[1, 2, 3, 10], 2.5],
  [[4, 2], 3],
  [[3, 1, 2], 2],
  [[7], 7],
  [[], 0],
])('the median of %j is the middle value, or the mean of the two middle ones', (values, median) => {
  expect(histogramOf(values).median).toBe(median);
});

describe('the report', () => {
  test('counts, finds duplicates, contradictions and languages', async () => {
    const report = await analyse();
    expect(report).toMatchObject({
      conversations: 6,
      messages: 12,
      duplicates: { exact: 1, near: 0 },
      languages: { English: 5, Chinese: 1 },
    });
    expect(
      report.suspects.first.filter(({ reason }) => reason === 'contradiction').map(({ origin }) => origin.line),
    ).toEqual([3]);
    expect(report.worst[0]?.origin.line).toBe(6);
    expect(report.tokens).toMatchObject({ truncated: 4, supervision: { turns: 6, withoutStop: { count: 0 } } });
  });

  test('counts characters without what joins messages, as code points', async () => {
    const report = await analyseData({
      title: 'Characters',
      source: sourceOf([chat('abc', 'de'), chat('你好', '😀'), chat('x', 'yz'), chat('1', '2')]),
    });
    // 5, 3, 3 and 2; the two middle values are 3 and 3.
    expect(report.characters).toMatchObject({ smallest: 2, largest: 5, median: 3, mean: 13 / 4 });
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

  test('suspects are counted by reason, and shown with their texts', async () => {
    const source = sourceOf([
      chat('Where is it?', 'It is on its way to you.'),
      chat('Where is it?', `Nobody here knows.\u001B[31m\n${'Ask again tomorrow. '.repeat(30)}`),
      { ...chat('And then?', 'That is all.'), messages: chat('And then?', 'That is all.').messages.toReversed() },
      chat('Where is my parcel, and when will it be here?', 'Wir haben es leider noch nicht gefunden.'),
    ]);
    const report = await analyseData({ title: 'Suspects', source });
    expect(report.suspects.reasons).toEqual({ contradiction: 1, 'role-order': 1, language: 1 });
    const [contradiction] = report.suspects.first;
    expect(contradiction?.preview).toMatch(
      /^user: Where is it\? ⏎ assistant: Nobody here knows\.␛\[31m↵Ask again .*…$/,
    );
    expect(contradiction?.preview.length).toBeLessThan(200);
    expect(report.suspects.first[2]?.detail).toBe('questions: English, answers: German');
    expect(reportToHtml(report)).toContain('Nobody here knows.␛[31m↵Ask again');
    let error: unknown;
    try {
      enforceGate(report, { maxSuspects: 0.02 });
    } catch (thrown) {
      error = thrown;
    }
    const text = String(error);
    expect(text).toMatch(/memory\.jsonl:2: contradiction: user: Where is it\? ⏎ assistant: Nobody here knows\.␛/);
    expect(text).toMatch(/"part": "prompt", "near": false/);
    expect(text).toMatch(/"sameLanguage": true/);
    expect(text).not.toMatch(/normalize-text/);
  });

  test('the transforms that a hint names remove the suspects', async () => {
    const source = sourceOf([
      chat('Where is it?', 'It is on its way to you.'),
      chat('Where is it?', 'Nobody here knows anything.'),
      chat('Where is my parcel, and when will it be here?', 'Wir haben es leider noch nicht gefunden.'),
      chat('What is this?', 'Alexandria'),
    ]);
    const cleaned = applyTransforms(source, [
      createDeduplicateTransform({ part: 'prompt', near: false }),
      createQualityTransform({ sameLanguage: true }),
    ]);
    const report = await analyseData({ title: 'Cleaned', source: cleaned });
    expect(report).toMatchObject({ conversations: 2, suspects: { count: 0, reasons: {}, first: [] } });
    expect(cleaned.reports.map(({ removed }) => removed)).toEqual([
      { 'exact-duplicate': 1 },
      { 'language-mismatch': 1 },
    ]);
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
