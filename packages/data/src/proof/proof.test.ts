import { describe, expect, test } from 'vitest';
import type { ChatRenderer, Conversation } from '@whetstone/core/contract';
import { createBatchSource } from '../batching/batch-source.js';
import type { BatchOptions } from '../batching/options.js';
import { characterTokenizer, plainRenderer } from '../testing/fakes.js';
import { chat, sourceOf } from '../testing/sources.js';
import { createColors } from 'picocolors';
import { formatInspection, inspectConversation } from './inspect.js';

const build = (renderer: ChatRenderer, options: Partial<BatchOptions> = {}, onWarning?: (message: string) => void) =>
  createBatchSource({
    source: sourceOf([chat('Hi', 'Hello', 'Bye', 'See you'), chat('One', 'Two')]),
    tokenizer: characterTokenizer,
    renderer,
    options,
    ...(onWarning ? { onWarning } : {}),
  });

/** A template that writes the stop token after the turn, so that it is not a target token. */
const withoutEnds: ChatRenderer = {
  ...plainRenderer,
  render(messages) {
    const { text, turns } = plainRenderer.render(messages);
    return { text, turns: turns.map((turn) => turn && { start: turn.start, end: turn.end - '<eos>'.length }) };
  },
};

/** A template whose prompt differs from the training text. */
const otherPrompt: ChatRenderer = {
  ...plainRenderer,
  renderPrompt: (messages) => `${plainRenderer.render(messages).text}assistant: `,
};

describe('the supervision proof', () => {
  test('passes if all turns have a stop token and prompts equal the training text', async () => {
    const { supervision } = await build(plainRenderer);
    expect(supervision).toMatchObject({
      turns: 3,
      withoutStop: { count: 0 },
      prefixesChecked: 3,
      otherPrefix: { count: 0 },
    });
  });

  test('fails with the place if a turn has no stop token', async () => {
    const error: unknown = await build(withoutEnds).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: 'DATA_SUPERVISION' });
    expect(String(error)).toContain('3 of 3 turns have no stop token among their target tokens');
    expect(String(error)).toContain('memory.jsonl:1: the turn has no stop token (message 2): the turn ends in "ello"');
  });

  test('fails if a prompt differs from the training text', async () => {
    const error: unknown = await build(otherPrompt).catch((thrown: unknown) => thrown);
    expect(String(error)).toContain(
      'Before 3 of 3 turns, the training text differs from the prompt that serving sends',
    );
  });

  test('warns, or is off, if configured', async () => {
    const warnings: string[] = [];
    await build(withoutEnds, { supervisionProof: 'warn' }, (message) => warnings.push(message));
    expect(warnings).toEqual([expect.stringContaining('would not learn to stop')]);
    expect((await build(withoutEnds, { supervisionProof: 'off' })).supervision).toBeNull();
  });
});

describe('inspection', () => {
  const conversation: Conversation = { ...chat('Hi', 'Hello', 'Bye', 'Soon'), origin: { index: 0 } };

  test('shows target tokens, context and truncated text', () => {
    const inspection = inspectConversation(
      conversation,
      { tokenizer: characterTokenizer, renderer: plainRenderer },
      { maxLength: 30 },
    );
    expect(formatInspection(inspection, createColors(false))).toBe(
      'user:Hi<eos>\nassistant:⟦Hello<eos>⟧\nuser⟨:Bye<eos>\nassistant:Soon<eos>\n⟩\n6 of 30 tokens are ' +
        'target tokens (20.0 %)\n',
    );
  });

  test('in colours, line by line', () => {
    const text = formatInspection(
      inspectConversation(conversation, { tokenizer: characterTokenizer, renderer: plainRenderer }),
      createColors(true),
    );
    expect(text).toContain('\u001b[42m\u001b[30mHello<eos>'.slice(0, 5));
    expect(text).toContain('Hello<eos>');
  });
});

test('without colours, a sample is its text, unchanged', () => {
  const hostile = 'ring \u0007 \u001b[31mred \u202e \u200f';
  const conversation: Conversation = { ...chat(hostile, 'tab\there\u007f'), origin: { index: 0 } };
  const text = formatInspection(
    inspectConversation(conversation, { tokenizer: characterTokenizer, renderer: plainRenderer }),
    createColors(false),
  );
  expect(text).toContain(hostile);
  expect(text).toContain('tab\there\u007f');
});
