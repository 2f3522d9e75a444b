import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Conversation, Message } from '@whetstone/core/contract';
import { createSynonymTransform, createTurnTransform } from '../augment/plugins.js';
import { analyseData } from '../report/analyse.js';
import { reportToHtml } from '../report/html.js';
import { collect } from '../testing/files.js';
import { sourceOf } from '../testing/sources.js';
import { applyTransforms, createDeduplicateTransform, createNormalizeTransform, createQualityTransform, createRedactTransform, normalizeText, redactText } from './index.js';
import { defaultRedactOptions } from './redact/plugin.js';

const piece = fc.constantFrom(
  'a', 'Hello ', '你好', '，', '!', '。', ' ', '\n', '```', '`', '13812345678', 'a@b.co', '@', '4111 1111 1111 1111', '::1', '1.2.3.4', '北京市', '海淀区', '路', '街', '号', '1', '-', '+44', 'Mr. ', 'My name is ',
  'John', '我叫', '李', '[PHONE_1]', 'https://x.y/z', '\u200d', '👨‍👩‍👧', '\ufe0f', '(', ')', '“', 'http', '\t', '\u3000', 'Ａ',
);
const text = fc.array(piece, { maxLength: 30 }).map((pieces) => pieces.join(''));
const message = fc.record({ role: fc.constantFrom('system', 'user', 'assistant', 'tool', 'other'), content: fc.oneof(text, fc.constant(null), fc.array(text.map((part) => ({ type: 'text', text: part })), { maxLength: 3 })) });
const conversation = fc.record({ form: fc.constantFrom('chat' as const, 'completion' as const, 'text' as const), messages: fc.array(message as fc.Arbitrary<Message>, { minLength: 1, maxLength: 6 }) });

test('any conversation goes through every cleaner and into the report', async () => {
  const words = new Map([['hello', ['hi']], ['你好', ['您好']]]);
  await fc.assert(
    fc.asyncProperty(fc.array(conversation, { maxLength: 6 }), async (conversations) => {
      const transforms = [createNormalizeTransform(), createRedactTransform(), createQualityTransform(), createDeduplicateTransform(), createSynonymTransform({ rate: 1 }, { words }), createTurnTransform({ rate: 1 })];
      const source = applyTransforms(sourceOf(conversations), transforms);
      const kept = await collect(source.conversations());
      for (const { report } of transforms) {
        const removed = Object.values(report.removed).reduce((sum, count) => sum + count, 0);
        expect(report.removals).toHaveLength(removed);
        expect(report.conversationsOut).toBe(report.conversationsIn - removed + (report.changed['added'] ?? 0));
      }
      expect(kept.every(({ messages }: Conversation) => messages.length > 0)).toBe(true);
      expect(reportToHtml(await analyseData({ title: 'any', source: sourceOf(conversations) }))).not.toMatch(/NaN|undefined/);
    }),
    { numRuns: 150 },
  );
});

describe('long texts take no time out of proportion', () => {
  test.each([
    ['addresses that never end', '北京市海淀区中关村大街'.repeat(2000)],
    ['Chinese without an end', '我'.repeat(40_000)],
    ['roads', '路'.repeat(40_000)],
    ['numbers', '1'.repeat(40_000)],
    ['numbers with spaces', '1 '.repeat(20_000)],
    ['dots', 'a.'.repeat(20_000)],
    ['at signs', 'a@'.repeat(20_000)],
    ['colons', '1:'.repeat(20_000)],
    ['capitals', 'Aa Bb '.repeat(8000)],
    ['numbers before capitals', '12 Aa Bb Cc '.repeat(4000)],
    ['letters and numbers', 'AB12 CD34 '.repeat(5000)],
    ['backticks', '`'.repeat(20_000)],
    ['marks', '!？'.repeat(20_000)],
    ['spaces', ' '.repeat(40_000)],
    ['spaces at the ends of lines', `${'a'.padEnd(200)}\n`.repeat(300)],
    ['brackets', '你('.repeat(20_000)],
  ])('%s', (_, long) => {
    const started = performance.now();
    redactText(long, defaultRedactOptions);
    const redacted = performance.now();
    normalizeText(long);
    const times = { redact: redacted - started, normalize: performance.now() - redacted };
    expect(Math.max(times.redact, times.normalize), JSON.stringify(times)).toBeLessThan(4000);
  });
});
