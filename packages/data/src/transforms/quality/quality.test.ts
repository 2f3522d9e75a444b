import { describe, expect, test } from 'vitest';
import { defaultsOf, type Conversation, type Message } from '@whetstone/core/contract';
import { collect } from '../../testing/files.js';
import { chat, sourceOf } from '../../testing/sources.js';
import { applyTransforms } from '../apply.js';
import { qualitySchema } from './options.js';
import { checkQuality, createQualityTransform, repetitionShare } from './transform.js';

const reasonOf = (conversation: Omit<Conversation, 'origin'>, options = {}) =>
  checkQuality({ ...conversation, origin: { index: 0 } }, { ...defaultsOf(qualitySchema), ...options })?.reason ?? null;
const roles = (...names: string[]): Omit<Conversation, 'origin'> => ({
  form: 'chat',
  messages: names.map((role): Message => ({ role, content: 'Some words.' })),
});

const longReply = `Rivers carve valleys over thousands of years, while glaciers grind whole mountains into gravel.
Wind moves dunes across deserts; rain dissolves limestone until caves open beneath our feet. Earthquakes lift coasts out
of the sea within seconds. Volcanoes build islands, and waves take them down again. Farmers, meanwhile, terrace slopes,
drain marshes and plant hedges against storms. Every landscape that you look at is the sum of such quarrels, none of
which is ever quite decided.`;

describe('good conversations are kept', () => {
  test.each([
    ['short', chat('Hi', 'Hello')],
    ['Chinese', chat('你好吗', '我很好，谢谢！')],
    ['with code', chat('Print it', 'Here:\n```js\nconst a = { b: [1, 2, 3] };\nconsole.log(a["b"]);\n```')],
    ['a list', chat('Name some', `${'Fruits that are good for you, one by one. '.repeat(2)}\n- apple\n- pear\n- plum`)],
    ['with tools', roles('system', 'user', 'assistant', 'tool', 'assistant')],
    ['a long reply that ends well', chat('Tell me', longReply)],
  ])('%s', (_, conversation) => expect(reasonOf(conversation)).toBeNull());
});

describe('bad conversations are removed', () => {
  test.each([
    ['empty-turn', chat('Hi', '  ')],
    ['too-long', chat('Hi', 'x '.repeat(200_001))],
    ['role-order', roles('user', 'user', 'assistant')],
    ['role-order', roles('assistant', 'user', 'assistant')],
    ['role-order', roles('user', 'assistant', 'system', 'user', 'assistant')],
    ['role-order', roles('user', 'assistant', 'user')],
    ['role-order', roles('user', 'tool', 'assistant')],
    ['truncated-reply', chat('Hi', 'There are three reasons: cost, time, and')],
    ['truncated-reply', chat('你好', '原因有三个，第一，')],
    ['truncated-reply', chat('Code', '```js\nconst a = 1;')],
    ['truncated-reply', chat('Tell me', `${longReply} And this sentence stops in the mid`)],
    ['boilerplate', chat('Feelings?', 'As an AI language model, I have none.')],
    ['boilerplate', chat('你有感情吗', '作为一个人工智能语言模型，我没有感情。')],
    ['repetition', chat('Go', 'I am sorry, I am sorry, '.repeat(20).trim().replace(/,$/, '.'))],
    ['symbols', chat('|||||====****', '####____~~~~^^^^ ok.')],
  ])('%s', (reason, conversation) => expect(reasonOf(conversation)).toBe(reason));

  test('in another script, if scripts are configured', () => {
    expect(reasonOf(chat('Как дела?', 'Хорошо, спасибо.'), { scripts: ['Latin'] })).toBe('language');
    expect(reasonOf(chat('你好吗', '我很好，谢谢！'), { scripts: ['Han'] })).toBeNull();
    expect(reasonOf(chat('你好吗 OK', '我很好，谢谢！'), { scripts: ['Latin', 'Han'] })).toBeNull();
  });

  test('by length and turns, if configured', () => {
    expect(reasonOf(chat('Hi', 'Ok'), { minCharacters: 10 })).toBe('too-short');
    expect(reasonOf(chat('Hi', 'Ok'), { minTurns: 3 })).toBe('too-few-turns');
    expect(reasonOf(chat('Hi', 'Ok', 'Hi', 'Ok'), { maxTurns: 3 })).toBe('too-many-turns');
  });
});

test('the share of repeated text', () => {
  expect(repetitionShare('abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ')).toBe(0);
  // All repetitions but the first of ten.
  expect(repetitionShare('0123456789abcdefghij'.repeat(10))).toBeCloseTo(0.9, 5);
});

test('the transform lists every removal with its reason', async () => {
  const transform = createQualityTransform();
  const kept = await collect(
    applyTransforms(sourceOf([chat('Hi', 'Hello'), chat('Hi', ''), roles('user')]), [transform]).conversations(),
  );
  expect(kept).toHaveLength(1);
  expect(transform.report).toMatchObject({
    conversationsIn: 3,
    conversationsOut: 1,
    removed: { 'empty-turn': 1, 'role-order': 1 },
  });
  expect(transform.report.removals.map(({ origin, detail }) => [origin.line, detail])).toEqual([
    [2, 'message 2 is empty'],
    [3, 'the last message has the role user'],
  ]);
});
