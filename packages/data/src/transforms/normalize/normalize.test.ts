import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { collect } from '../../testing/files.js';
import { sourceOf } from '../../testing/sources.js';
import { applyTransforms } from '../apply.js';
import { createNormalizeTransform, normalizeText } from './transform.js';

describe('normalization', () => {
  test.each([
    ['punctuation in Chinese', '你好,世界!今天天气好吗?', '你好，世界！今天天气好吗？'],
    ['brackets and stops in Chinese', '他说(很好).', '他说（很好）。'],
    ['full-width letters and digits', 'ＡＢＣ１２３', 'ABC123'],
    ['full-width punctuation in English', 'Hello，world。 How are you？', 'Hello, world. How are you?'],
    ['mixed text is not changed', '我用iPhone,不用Android.', '我用iPhone,不用Android.'],
    ['numbers are not changed', '价格是3.14元,共1,000件', '价格是3.14元，共1,000件'],
    ['repeated marks', 'What?!!!!! 真的吗？？？ 好。。。 wait.....', 'What?! 真的吗？好…… wait...'],
    ['curly quotes in English', '“It’s fine,” she said.', '"It\'s fine," she said.'],
    ['curly quotes in Chinese are not changed', '他说“好”', '他说“好”'],
    ['spaces', '  a\u00a0 b\u3000c  \n\n\n\n\nd ', 'a b c\n\n\nd'],
    ['spaces between Chinese characters', '你 好 世 界', '你好世界'],
    ['zero-width and control characters', 'a\u200bb\ufeffc\u0007d', 'abcd'],
    ['emoji sequences are not changed', '👨‍👩‍👧 ok', '👨‍👩‍👧 ok'],
    ['composed letters', 'e\u0301', 'é'],
    ['line ends', 'a\r\nb\rc', 'a\nb\nc'],
    [
      'code and web addresses are not changed',
      'Run `a  ,b` at https://example.com/a,b!!!x。',
      'Run `a  ,b` at https://example.com/a,b!!!x。',
    ],
    ['code blocks are not changed', '看:\n```py\nx  =  "，"  \n```', '看：\n```py\nx  =  "，"  \n```'],
  ])('%s', (_, given, expected) => {
    expect(normalizeText(given)).toBe(expected);
  });

  test('is idempotent, for any text', () => {
    const unit = fc.constantFrom(
      'a',
      'B',
      '你',
      '，',
      ',',
      '.',
      '。',
      '!',
      '！',
      ' ',
      '\u3000',
      '\n',
      '“',
      '’',
      '`',
      '1',
      '?',
      '(',
      ')',
      '\u200b',
      '-',
      '…',
      '~',
      'é',
    );
    fc.assert(
      fc.property(fc.string({ unit, maxLength: 40 }), (text) => {
        const once = normalizeText(text);
        expect(normalizeText(once)).toBe(once);
      }),
      { numRuns: 2000 },
    );
  });

  test('counts changes by kind', async () => {
    const transform = createNormalizeTransform();
    const source = applyTransforms(
      sourceOf([
        { form: 'text', messages: [{ role: 'assistant', content: '你好,  ok!!' }] },
        { form: 'text', messages: [{ role: 'assistant', content: 'fine' }] },
      ]),
      [transform],
    );
    expect(await collect(source.conversations())).toHaveLength(2);
    expect(source.reports).toMatchObject([
      { name: 'normalize-text', conversationsIn: 2, conversationsOut: 2, changed: { 'repeated-marks': 1, spaces: 1 } },
    ]);
  });
});
