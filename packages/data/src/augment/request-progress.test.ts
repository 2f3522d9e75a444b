import { expect, test } from 'vitest';
import { readAhead } from './read-ahead.js';
import { createRequestProgress } from './request-progress.js';

test('the time that is left is estimated from the conversations since the first answer', () => {
  const lines: string[] = [];
  let seconds = 100;
  const progress = createRequestProgress('augment-paraphrase', { info: (line) => lines.push(line) }, () => seconds);
  progress.begin();
  // 20 conversations from the cache, before the number of all is known.
  for (let index = 0; index < 20; index++) progress.conversationDone();
  progress.answered();
  progress.conversationDone();
  seconds += 6;
  progress.conversationDone();
  progress.setTotal(2020);
  for (let index = 0; index < 7; index++) progress.conversationDone();
  seconds += 24;
  progress.answered();
  progress.conversationDone();
  progress.end();
  // After the first answer: 9 conversations in 30 s, and 1991 are left (6637 s); then 10, and 1990 (5970 s).
  expect(lines).toEqual([
    'augment-paraphrase: 22 conversations, 1 answer of the model (0.2 a second)',
    'augment-paraphrase: 29 of 2,020 conversations, 2 answers of the model (0.1 a second), about 1 h 50 min left',
    'augment-paraphrase: 30 of 2,020 conversations, 2 answers of the model (0.1 a second), about 1 h 39 min left',
  ]);
});

test('without an answer there is no estimate, and no line at the end of a pass', () => {
  const lines: string[] = [];
  let seconds = 0;
  const progress = createRequestProgress('augment-paraphrase', { info: (line) => lines.push(line) }, () => seconds);
  progress.begin();
  progress.setTotal(3);
  seconds = 5;
  progress.conversationDone();
  progress.end();
  expect(lines).toEqual(['augment-paraphrase: 1 of 3 conversations, 0 answers of the model (0.0 a second)']);
});

test.each([
  [0, 4, [0, 0]],
  [3, 4, [3, 0]],
  [4, 4, [4, 4]],
  [9, 4, [9, 8]],
])('of %i elements, %i are read ahead', async (count, limit, [total, yieldedBefore]) => {
  let isClosed = false;
  const values = (async function* () {
    try {
      for (let value = 0; value < count; value++) yield value;
    } finally {
      isClosed = true;
    }
  })();
  const yielded: number[] = [];
  let told: [number, number] | null = null;
  for await (const value of readAhead(values, (all) => (told = [all, yielded.length]), limit)) yielded.push(value);
  expect(yielded).toEqual(Array.from({ length: count }, (_, value) => value));
  expect(told).toEqual([total, yieldedBefore]);
  expect(isClosed).toBe(true);
});

test('a sequence that is abandoned is closed', async () => {
  let isClosed = false;
  const values = (async function* () {
    try {
      for (;;) yield 1;
    } finally {
      isClosed = true;
    }
  })();
  for await (const value of readAhead(values, () => {}, 3)) {
    expect(value).toBe(1);
    break;
  }
  expect(isClosed).toBe(true);
});
