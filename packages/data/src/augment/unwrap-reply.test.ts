import { describe, expect, test } from 'vitest';
import { unwrapReply } from './unwrap-reply.js';

const question = 'Where is my parcel?';
const sentence = 'My parcel, where is it?';
const long =
  'I ordered three pairs of shoes last week, paid by card, and have heard nothing since then. Could you look up ' +
  'where my parcel is now, when it will come, and who I can call if nobody is at home on that day?';
const longAnswer =
  'Last week I bought three pairs of shoes with my card and have had no news since. Please check where the parcel is ' +
  'at the moment, on which day it arrives, and whom to call if nobody is home then.';
const chinese = '我的包裹什么时候能到？';
const chineseAnswer = '包裹几时可以送到我这里？';

describe('the text of a reply', () => {
  test.each([
    `Sure! Here is a paraphrase: ${sentence}`,
    `Sure! Here is a paraphrase:\n\n"${sentence}"`,
    `Sure, here's a rephrased version of your sentence:\n\n**${sentence}**`,
    `Certainly! ${sentence}`,
    `Of course! Here’s one way to say it: “${sentence}”\n\nLet me know if you would like another version!`,
    `Paraphrase: ${sentence}`,
    `**Paraphrase:** ${sentence}`,
    `Rephrased: "${sentence}"`,
    `In other words: ${sentence}`,
    `Here is the translation:\n${sentence}`,
    `Here is a paraphrase of the text.\n\n${sentence}`,
    `"${sentence}"`,
    `<think>\nThe user wants another wording.\n</think>\n\n${sentence}`,
    '```\n' + sentence + '\n```',
    `${sentence}\n\nNote: I kept the meaning of the question.`,
    `${sentence}\n\n(This version keeps the tone.)`,
    sentence,
  ])('is found in %j', (reply) => {
    expect(unwrapReply(reply, question)).toEqual({ text: sentence });
  });

  test.each([
    `Sure! Here is a paraphrase: ${longAnswer}`,
    `Absolutely. Here's the reworded text:\n\n${longAnswer}\n\nI hope this helps!`,
    longAnswer,
  ])('is found at any length: %#', (reply) => {
    expect(unwrapReply(reply, long)).toEqual({ text: longAnswer });
  });

  test.each([
    `当然！以下是改写后的句子：${chineseAnswer}`,
    `好的，换句话说：“${chineseAnswer}”`,
    `改写：${chineseAnswer}`,
    `没问题，这是另一种表达方式：\n\n「${chineseAnswer}」\n\n如果您需要其他版本，请告诉我。`,
    `以下是改写后的文本。\n${chineseAnswer}`,
    chineseAnswer,
  ])('is found in Chinese: %j', (reply) => {
    expect(unwrapReply(reply, chinese)).toEqual({ text: chineseAnswer });
  });

  test.each([
    ['Sure, it opens at 9:30 today.', 'Yes, today the shop opens at 9:30.'],
    ['Here is a list of versions: 1.2 and 1.3.', 'The following versions exist: 1.2 and 1.3.'],
    ['Is it open until 18:00?', 'Does it close at 18:00?'],
    ['"To be or not to be" is a quotation.', '"To be or not to be" is quoted.'],
    ['"Stay!" she said', '"Remain!" she said'],
    ['See https://example.com for this version.', 'This version is at https://example.com.'],
    ['好的，明天见。', '好，我们明天见。'],
    ['What does paraphrase mean?', 'What is the meaning of the word paraphrase?'],
    ['Steps:\n1. Open it\n2. Close it', 'Do this:\n1. Open it up\n2. Shut it'],
    ['My reason: it rains.', 'The reason: it is raining.'],
  ])('has what the original has, too: %j', (original, reply) => {
    expect(unwrapReply(reply, original)).toEqual({ text: reply });
  });

  test.each([
    ['', 'empty'],
    ['<think>hm</think>', 'empty'],
    ['Sure! Here is a paraphrase:', 'wrapped'],
    ['<think>The user wants', 'wrapped'],
    [`I would be happy to rephrase that. ${sentence}`, 'wrapped'],
    [`1. ${sentence}\n2. Where might my parcel be?`, 'several texts'],
    [`Here are some options:\n\n- ${sentence}\n- Where might my parcel be?`, 'several texts'],
    ["I'm sorry, but I can't help with that.", 'refusal'],
    ['As an AI language model, I do not have a parcel.', 'refusal'],
    ['抱歉，我无法提供帮助。', 'refusal'],
    ['作为一个人工智能，我没有包裹。', 'refusal'],
    ['以下是改写后的句子：', 'wrapped'],
  ])('is refused if it cannot be told apart: %j', (reply, refusal) => {
    expect(unwrapReply(reply, /\p{Script=Han}/u.test(reply) ? chinese : question)).toEqual({ refusal });
  });
});
