import { describe, expect, test } from 'vitest';
import { answerAccuracy, choiceIn, isSameAnswer } from './answer.js';
import { labelIn } from './classification.js';
import { tokenF1 } from './token-f1.js';
import { additiveLength } from './length.js';

describe('the choice in a reply', () => {
  test.each([
    ['B', 'B'],
    ['b', 'B'],
    ['(C)', 'C'],
    ['**D**', 'D'],
    ['The answer is B.', 'B'],
    ['Answer: (a)', 'A'],
    ['A good question. I think the correct answer is C', 'C'],
    ['A is wrong, so that it is D.', 'D'],
    ['A) because it is red', 'A'],
    ['答案是B。', 'B'],
    ['选项Ａ错误，所以选 C', 'C'],
    ['正确答案：D', 'D'],
    ['<think>B, no: the answer is B?</think>The answer is E.', 'E'],
    ['I do not know.', null],
    ['A cat.', null],
    ['', null],
  ])('%s: %s', (reply, expected) => expect(choiceIn(reply)).toBe(expected));
});

describe('a reply gives the answer of its reference', () => {
  test.each([
    // Numbers: the last one counts, in any notation.
    ['There are 3 + 4 = 7 apples.', '7'],
    ['The price is $1,234.50.', '1234.5'],
    ['１２', '12'],
    ['x = 1e3', '1000'],
    ['1/4', '0.25'],
    ['−5 °C', '-5'],
    ['一共三千零五十元', '3050'],
    ['3万', '30000'],
    ['答案是十二', '12'],
    ['二〇二四年', '2024'],
    ['一点五', '1.5'],
    ['2.5 million people', '2500000'],
    // Units.
    ['It is 3 km away', '3000 m'],
    ['5公里', '5 km'],
    ['1.5 hours', '90 minutes'],
    ['500克', '0.5 kg'],
    // Text.
    ['The Eiffel Tower', 'eiffel tower.'],
    ['“ 北 京 ”', '北京'],
    ['Ｐａｒｉｓ', 'paris'],
    // Choices.
    ['I choose (B).', 'B'],
    ['B', '(B)'],
    // Only one of them has a unit.
    ['7 apples', '7'],
    ['Each costs 50%', '50'],
  ])('%s = %s', (prediction, reference) => expect(isSameAnswer({ prediction, reference })).toBe(true));

  test.each([
    ['6', '7'],
    ['3 km', '3 m'],
    ['3 kg', '3 km'],
    ['70', '7'],
    ['', '7'],
    ['Paris, France', 'Paris'],
    ['', 'Paris'],
    ['C', 'B'],
    ['', 'B'],
  ])('%s ≠ %s', (prediction, reference) => expect(isSameAnswer({ prediction, reference })).toBe(false));

  test('within a tolerance, or as the kind that is chosen', () => {
    const pair = { prediction: '3.14', reference: '3.14159' };
    expect(answerAccuracy([pair])).toBe(0);
    expect(answerAccuracy([pair], { tolerance: 0.001 })).toBe(1);
    expect(answerAccuracy([{ prediction: 'so 7', reference: '7' }], { kind: 'text' })).toBe(0);
    expect(answerAccuracy([])).toBeNaN();
  });
});

describe('the label in a reply', () => {
  const labels = ['positive', 'not positive', 'neutral', '退款'];
  test.each([
    ['Positive', 0],
    ['The sentiment is positive.', 0],
    ['It is not positive!', 1],
    ['neutral or positive', -1],
    ['positively', -1],
    ['意图：退款', 3],
    ['', -1],
  ])('%s: %d', (reply, expected) => expect(labelIn(reply, labels)).toBe(expected));
});

test('token F1 counts common words once each, and Chinese characters', () => {
  // two of three and two of four words: 2 · 2 ÷ 7.
  const pair = { prediction: 'cats and dogs', reference: 'The dogs, and two cats' };
  expect(tokenF1([pair])).toBeCloseTo((2 * 3) / (3 + 4), 12);
  expect(tokenF1([{ prediction: '在北京', reference: '北京。' }])).toBeCloseTo((2 * 2) / (3 + 2), 12);
  expect(tokenF1([{ prediction: '', reference: 'x' }])).toBe(0);
  expect(tokenF1([{ prediction: '!', reference: '' }])).toBe(1);
});

test('lengths of replies', () => {
  const { statistics, score } = additiveLength(0.5);
  const rows = [
    statistics({ prediction: 'one', reference: 'one two three' }),
    statistics({ prediction: '', reference: '你好' }),
    statistics({ prediction: 'a b c d e', reference: 'a b c d e' }),
  ];
  const sums = [0, 1, 2, 3, 4].map((column) => rows.reduce((sum, row) => sum + (row[column] ?? 0), 0));
  expect(score(sums)).toEqual({ replyWords: 2, lengthRatio: 6 / 10, shortReplies: 2 / 3, emptyReplies: 1 / 3 });
});
