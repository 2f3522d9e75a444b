import { readdirSync } from 'node:fs';
import { beforeAll, describe, expect, it } from 'vitest';
import {
  isWhetstoneError,
  type ChatRenderer,
  type Conversation,
  type Message,
  type RenderedConversation,
  type ToolDefinition,
} from '@whetstone/core/contract';
import { proveSupervision } from '../../packages/data/src/proof/prove.js';
import { createRenderer, loadTokenizer, type FolderTokenizer } from '@whetstone/models';
import { goldenPath, readGolden } from '../support/golden.js';

// Whether what serving sends before a turn is what training shows there, for the templates and conversations of
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

/** Their prompts open a thought (or an empty one), which their training text has not where a turn holds none. */
const openAThought = /^(?:deepseek_r1_distill|deepseekv3|nemotron_3|qwen3_5_nothink|qwen3_5_think$|qwen3_6$)/;
/**
 * After a tool's answer the model goes on in the turn that it had begun: the prompt ends where the training text has a
 * header.
 */
const goOnInTheTurn = /^diffusion_gemma/;
/** What ends a turn is the mark that opens the next one: the last turn has none. */
const endNothing = /^glm4moe$/;

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
    // a template that refuses the conversation; chat-templates.test.ts compares these with transformers
    if (isWhetstoneError(error)) return null;
    throw error;
  }
}

describe.each(names)('%s', (name) => {
  it('shows before every turn what serving sends, and writes the end of every turn', () => {
    const renderer = rendererOf(name);
    const other: string[] = [];
    const endless: string[] = [];
    for (const { id, messages, tools } of index.conversations) {
      const full = rendered(renderer, messages, tools);
      for (const [place, message] of messages.entries()) {
        const span = full?.turns[place];
        if (message.role !== 'assistant' || place === 0 || !full || !span) continue;
        const prompt = renderer.renderPrompt(messages.slice(0, place), tools);
        if (!full.text.startsWith(prompt) || prompt.length < span.start) other.push(id);
        if (
          typeof message.content === 'string' &&
          message.content.trim() !== '' &&
          full.text.slice(span.start, span.end).endsWith(message.content.trim())
        )
          endless.push(id);
      }
    }
    if (goOnInTheTurn.test(name)) expect(new Set(other)).toEqual(new Set(['tool-round-trip']));
    else expect(other.length > 0, other.join(', ')).toBe(openAThought.test(name));
    expect(endless.length > 0, endless.join(', ')).toBe(endNothing.test(name));
  });
});

it.each([
  ['smollm2', 0],
  ['deepseek_r1_distill', 1],
] as const)('the proof of a data set says so, too: %s', async (name, otherPrefix) => {
  const { messages = [] } = index.conversations.find(({ id }) => id === 'user-assistant') ?? {};
  const conversation: Conversation = { form: 'chat', messages, origin: { index: 0 } };
  const { findings } = await proveSupervision({
    source: { conversations: () => [conversation], unreadable: [], files: [] },
    tokenizer,
    renderer: rendererOf(name),
  });
  expect(findings).toMatchObject({ turns: 1, prefixesChecked: 1, otherPrefix: { count: otherPrefix } });
});
