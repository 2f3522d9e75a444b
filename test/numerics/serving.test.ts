import { readdirSync } from 'node:fs';
import { beforeAll, describe, expect, it } from 'vitest';
import {
  isWhetstoneError,
  type ChatRenderer,
  type Conversation,
  type Message,
  type RenderedConversation,
  type TextSpan,
  type ToolDefinition,
} from '@whetstone/core/contract';
import { proveSupervision } from '../../packages/data/src/proof/prove.js';
import { loadTokenizer, type FolderTokenizer } from '@whetstone/models';
import { createRenderer } from '../../packages/models/src/chat-template/renderer.js';
import { goldenPath, readGolden } from '../support/golden.js';

// Compares the prompt in serving with the text before the turn in training, for the templates and conversations of
// chat-templates.
interface Index {
  readonly variables: Record<string, string>;
  readonly now: string;
  readonly conversations: readonly {
    readonly id: string;
    readonly messages: Message[];
    readonly tools?: ToolDefinition[];
  }[];
}

const index = readGolden<Index>('chat-templates', 'golden.json');
const names = readdirSync(goldenPath('chat-templates'))
  .filter((file) => file !== 'golden.json')
  .map((file) => file.replace(/\.json$/, ''));

/** Templates whose prompts start a thought, which the training text lacks for turns without a thought. */
const startsThought = /^(?:deepseek_r1_distill|deepseekv3|nemotron_3|qwen3_5_nothink|qwen3_5_think$|qwen3_6$)/;
/**
 * Templates with which the model continues its turn after a tool result: the training text has a header there, the
 * prompt does not.
 */
const continuesTurn = /^diffusion_gemma/;
/** Templates in which a turn ends with the start of the next one, so that the last turn has no end. */
const lacksTurnEnd = /^glm4moe$/;

let tokenizer: FolderTokenizer;
beforeAll(async () => {
  tokenizer = await loadTokenizer(goldenPath('tokenizers', 'qwen-bpe'));
});
function rendererOf(name: string): ChatRenderer {
  const { template } = readGolden<{ readonly template: string }>('chat-templates', `${name}.json`);
  return createRenderer(template, { specialTokens: index.variables, tokenizer, now: () => new Date(index.now) });
}

function rendered(
  renderer: ChatRenderer,
  messages: readonly Message[],
  tools?: readonly ToolDefinition[],
): RenderedConversation | null {
  try {
    return renderer.render(messages, tools);
  } catch (error) {
    // The template rejects the conversation; chat-templates.test.ts compares this with transformers.
    if (isWhetstoneError(error)) return null;
    throw error;
  }
}

describe.each(names)('%s', (name) => {
  it('has equal text before every turn in training and serving, and an end of every turn', () => {
    const renderer = rendererOf(name);
    const other: string[] = [];
    const endless: string[] = [];
    for (const { id, messages, tools } of index.conversations) {
      const full = rendered(renderer, messages, tools);
      for (const [position, message] of messages.entries()) {
        const span = full?.turns[position];
        if (message.role !== 'assistant' || position === 0 || !full || !span) continue;
        const prompt = renderer.renderPrompt(messages.slice(0, position), tools);
        if (!full.text.startsWith(prompt) || prompt.length < span.start) other.push(id);
        if (
          typeof message.content === 'string' &&
          message.content.trim() !== '' &&
          full.text.slice(span.start, span.end).endsWith(message.content.trim())
        )
          endless.push(id);
      }
    }
    if (continuesTurn.test(name)) expect(new Set(other)).toEqual(new Set(['tool-round-trip']));
    else expect(other.length > 0, other.join(', ')).toBe(startsThought.test(name));
    expect(endless.length > 0, endless.join(', ')).toBe(lacksTurnEnd.test(name));
  });
});

// TRL's training template of GLM writes the same text, and marks what the model generates.
it('a turn of GLM ends with the marker of the next turn, which is another one after a tool call', () => {
  const call = { type: 'function', function: { name: 'f', arguments: { x: '1' } } } as const;
  const messages: readonly Message[] = [
    { role: 'user', content: 'q' },
    { role: 'assistant', content: '', tool_calls: [call, call] },
    { role: 'tool', content: 'r' },
    { role: 'assistant', content: 'done' },
    { role: 'user', content: 'thanks' },
    { role: 'assistant', content: 'bye' },
  ];
  const tools: readonly ToolDefinition[] = [{ type: 'function', function: { name: 'f' } }];
  const renderer = rendererOf('glm4moe');
  const plain = renderer.render(messages, tools);
  const marked = rendererOf('glm4moe_training').render(messages, tools);
  const spans = (text: string, found: readonly (TextSpan | null)[]): string[] =>
    found.map((span) => text.slice(span?.start, span?.end).trim());
  const turns = spans(
    plain.text,
    [1, 3, 5].map((index) => plain.turns[index] ?? null),
  );
  const expected = spans(marked.text, marked.generationSpans ?? []);
  expect(expected[0]).toMatch(/<\/tool_call><\|observation\|>$/);
  // TRL adds a marker after the conversation, which the template of the model does not write.
  expect([...turns.slice(0, 2), `${turns[2]}<|user|>`]).toEqual(expected);
});

it.each([
  ['smollm2', 0],
  ['deepseek_r1_distill', 1],
] as const)('the proof of a data set reports the difference: %s', async (name, otherPrefix) => {
  const { messages = [] } = index.conversations.find(({ id }) => id === 'user-assistant') ?? {};
  const conversation: Conversation = { form: 'chat', messages, origin: { index: 0 } };
  const { findings } = await proveSupervision({
    source: { conversations: () => [conversation], unreadable: [], files: [] },
    tokenizer,
    renderer: rendererOf(name),
  });
  expect(findings).toMatchObject({ turns: 1, prefixesChecked: 1, otherPrefix: { count: otherPrefix } });
});
