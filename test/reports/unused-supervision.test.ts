import { expect, test } from 'vitest';
import type { BatchOptions, Conversation, Message } from '@whetstone/core/contract';
import { createBatchSource } from '@whetstone/data';
import { unusedSupervision } from '../../packages/core/src/trainer/compose/unused-supervision.js';
import { defaultBatchOptions } from '../../packages/data/src/batching/options.js';
import { characterTokenizer, plainRenderer } from '../../packages/data/src/testing/fakes.js';
import { sourceOf } from '../../packages/data/src/testing/sources.js';

type Rows = Omit<Conversation, 'origin'>[];

const turn = (role: string, more: Partial<Message> = {}): Message => ({ role, content: `I am ${role}.`, ...more });
const chatOf = (...messages: readonly Message[]): Rows[number] => ({ form: 'chat', messages });
const short = chatOf(turn('user'), turn('assistant'));
const long = chatOf(...short.messages, ...short.messages);
const pair = chatOf(turn('user', { isPrompt: true }), turn('assistant'));
const text: Rows[number] = { form: 'text', messages: [turn('assistant')] };
const textPair: Rows[number] = { ...short, form: 'completion' };
const noChat = 'no conversation of the training data is a chat';

test.each<[Partial<BatchOptions>, Rows, string[]]>([
  [
    { rolesToTrain: ['assistant', 'usr'] },
    [short],
    [
      'data.rolesToTrain[1] has no effect: no conversation of the training data has the role "usr" ' +
        '(did you mean "user"?); its roles are user, assistant.',
    ],
  ],
  [{ rolesToTrain: ['assistant', 'user'] }, [short, text], []],
  [
    { rolesToTrain: ['assistant', 'user', 'assistant'] },
    [pair],
    [
      'data.rolesToTrain[1] has no effect: each turn of the role "user" has its own "train" or is in a prompt that ' +
        'is excluded.',
      'data.rolesToTrain[2] has no effect: "assistant" is named before.',
    ],
  ],
  [
    { roleWeights: { assistant: 1, judge: 0.5, user: 0.2 } },
    [short],
    [
      'data.roleWeights["judge"] has no effect: no conversation of the training data has the role "judge"; its ' +
        'roles are user, assistant.',
      'data.roleWeights["user"] has no effect: no turn of the role "user" is supervised.',
    ],
  ],
  [
    { roleWeights: { assistant: 0.5 } },
    [short],
    ['data.roleWeights has no effect: every target token has the weight 0.5, and only the ratio of weights counts.'],
  ],
  [{ roleWeights: { assistant: 0.5 } }, [short, text], []],
  [{ roleWeights: { assistant: 0.5 } }, [short, chatOf(turn('user'), turn('assistant', { weight: 1 }))], []],
  [
    { roleWeights: { assistant: 0.5 } },
    [chatOf(turn('user'), turn('assistant', { weight: 2 }))],
    ['data.roleWeights["assistant"] has no effect: no turn of the role "assistant" takes its weight from its role.'],
  ],
  [
    { lastTurnOnly: true },
    [short],
    ['data.lastTurnOnly has no effect: no chat of the training data has more than one supervised turn.'],
  ],
  [{ lastTurnOnly: true }, [long], []],
  [{ lastTurnOnly: true, assistantOnlyLoss: false }, [short], []],
  [
    { assistantOnlyLoss: true, lastTurnOnly: true, roleWeights: { user: 2 }, rolesToTrain: ['user'] },
    [text],
    ['assistantOnlyLoss', 'rolesToTrain', 'lastTurnOnly', 'roleWeights'].map(
      (key) => `data.${key} has no effect: ${noChat}.`,
    ),
  ],
  [
    { completionOnlyLoss: true },
    [short],
    [
      'data.completionOnlyLoss has no effect: no conversation of the training data is a pair of prompt and ' +
        'completion; data.assistantOnlyLoss decides which turns of a chat are supervised.',
    ],
  ],
  [
    { completionOnlyLoss: false },
    [text],
    [
      'data.completionOnlyLoss has no effect: no conversation of the training data is a pair of prompt and ' +
        'completion.',
    ],
  ],
  [
    { completionOnlyLoss: false },
    [pair],
    [
      'data.completionOnlyLoss has no effect: data.assistantOnlyLoss is true and no prompt has a turn of ' +
        'data.rolesToTrain; to supervise prompts, set data.assistantOnlyLoss to false.',
    ],
  ],
  [{ completionOnlyLoss: false, assistantOnlyLoss: false }, [pair], []],
  [
    { completionOnlyLoss: false },
    [chatOf(...long.messages.map((message) => ({ ...message, isPrompt: true })), turn('assistant'))],
    [],
  ],
  [{ completionOnlyLoss: false }, [textPair, pair], []],
  [{ completionOnlyLoss: true }, [pair], []],
])('options of supervision that change nothing in the data are reported: %j', async (options, rows, expected) => {
  const { summary } = await createBatchSource({
    source: sourceOf(rows),
    tokenizer: characterTokenizer,
    renderer: plainRenderer,
    options: { supervisionProof: 'off', ...options },
  });
  const unused = unusedSupervision({ ...defaultBatchOptions, ...options }, (key) => key in options, summary);
  expect(unused.map(({ path, reason }) => `${path} has no effect: ${reason}.`)).toEqual(expected);
});
