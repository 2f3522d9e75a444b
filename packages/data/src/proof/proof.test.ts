import { describe, expect, test } from 'vitest';
import type { ChatRenderer, Conversation } from '@whetstone/core/contract';
import { createBatchSource } from '../batching/batch-source.js';
import type { BatchOptions } from '../batching/options.js';
import { characterTokenizer, plainRenderer } from '../testing/fakes.js';
import { chat, sourceOf } from '../testing/sources.js';
import { formatInspection, inspectConversation } from './inspect.js';

const build = (renderer: ChatRenderer, options: Partial<BatchOptions> = {}, onWarning?: (message: string) => void) =>
  createBatchSource({
    source: sourceOf([chat('Hi', 'Hello', 'Bye', 'See you'), chat('One', 'Two')]),
    tokenizer: characterTokenizer,
    renderer,
    options,
    ...(onWarning ? { onWarning } : {}),
  });

/** Turn ends outside of the turns: a template that teaches nobody to stop. */
const withoutEnds: ChatRenderer = {
  ...plainRenderer,
  render(messages) {
    const { text, turns } = plainRenderer.render(messages);
    return { text, turns: turns.map((turn) => turn && { start: turn.start, end: turn.end - '<eos>'.length }) };
  },
};

/** A prompt that training never shows. */
const otherPrompt: ChatRenderer = {
  ...plainRenderer,
  renderPrompt: (messages) => `${plainRenderer.render(messages).text}assistant: `,
};

describe('the supervision proof', () => {
  test('passes where every end is learned and serving sends what training shows', async () => {
    const { supervision } = await build(plainRenderer);
    expect(supervision).toMatchObject({
      turns: 3,
      withoutStop: { count: 0 },
      prefixesChecked: 3,
      otherPrefix: { count: 0 },
    });
  });

  test("fails where a turn's end is not learned, with the place", async () => {
    const error: unknown = await build(withoutEnds).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: 'DATA_SUPERVISION' });
    expect(String(error)).toContain('The end of 3 of 3 turns is not learned');
    expect(String(error)).toContain(
      'memory.jsonl:1: the turn\'s end is not learned (message 2): the turn ends in "ello"',
    );
  });

  test('fails where serving sends another prompt', async () => {
    const error: unknown = await build(otherPrompt).catch((thrown: unknown) => thrown);
    expect(String(error)).toContain('Before 3 of 3 turns, training shows the model another text than serving would');
  });

  test('warns, or is off, where that is asked for', async () => {
    const warnings: string[] = [];
    await build(withoutEnds, { supervisionProof: 'warn' }, (message) => warnings.push(message));
    expect(warnings).toEqual([expect.stringContaining('would not learn to stop')]);
    expect((await build(withoutEnds, { supervisionProof: 'off' })).supervision).toBeNull();
  });
});

describe('inspection', () => {
  const conversation: Conversation = { ...chat('Hi', 'Hello', 'Bye', 'Soon'), origin: { index: 0 } };

  test('shows what is learned, what is context and what is cut', () => {
    const inspection = inspectConversation(
      conversation,
      { tokenizer: characterTokenizer, renderer: plainRenderer },
      { maxLength: 30 },
    );
    expect(formatInspection(inspection, { colors: false })).toBe(
      'user:Hi<eos>\nassistant:⟦Hello<eos>⟧\nuser⟨:Bye<eos>\nassistant:Soon<eos>\n⟩\n6 of 30 tokens are ' +
        'learned (20.0 %)\n',
    );
  });

  test('in colours, line by line', () => {
    const text = formatInspection(
      inspectConversation(conversation, { tokenizer: characterTokenizer, renderer: plainRenderer }),
      { colors: true },
    );
    expect(text).toContain('\u001b[42m\u001b[30mHello<eos>'.slice(0, 5));
    expect(text).toContain('Hello<eos>');
  });
});

test('control characters of the data are shown, not sent to the terminal', () => {
  const conversation: Conversation = { ...chat('ring \u0007 \u001b[31mred', 'tab\there\u007f'), origin: { index: 0 } };
  const text = formatInspection(
    inspectConversation(conversation, { tokenizer: characterTokenizer, renderer: plainRenderer }),
    { colors: false },
  );
  expect(text).toContain('ring ␇ ␛[31mred');
  expect(text).toContain('tab\there␡');
});
