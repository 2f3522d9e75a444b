import { existsSync, readdirSync } from 'node:fs';
import { beforeAll, describe, expect, it } from 'vitest';
import {
  WhetstoneError,
  type ChatRenderer,
  type Message,
  type TextSpan,
  type ToolDefinition,
} from '@whetstone/core/contract';
import { loadTokenizer, type FolderTokenizer } from '@whetstone/models';
import { createRenderer } from '../../packages/models/src/chat-template/renderer.js';
import { goldenPath, readGolden } from '../support/golden.js';

// Texts, errors and assistant spans of transformers' render_jinja_template; spans there count code points.

interface Conversation {
  readonly id: string;
  readonly messages: Message[];
  readonly tools?: ToolDefinition[];
}
interface Index {
  readonly variables: Record<string, string>;
  readonly now: string;
  readonly conversations: Conversation[];
}
interface Result {
  readonly conversation: string;
  readonly add_generation_prompt: boolean;
  readonly text?: string;
  readonly error?: { readonly type: string; readonly message: string };
  readonly assistant_char_spans?: [number, number][];
  readonly qwen_bpe_token_count?: number;
  readonly qwen_bpe_mask_ones?: [number[], number[]];
}
interface Fixture {
  readonly template: string;
  readonly has_generation: boolean;
  readonly results: Result[];
}

const index = readGolden<Index>('chat-templates', 'golden.json');
const conversations = new Map(index.conversations.map((conversation) => [conversation.id, conversation]));
const names = readdirSync(goldenPath('chat-templates'))
  .filter((file) => file !== 'golden.json')
  .map((file) => file.replace(/\.json$/, ''));

/** Templates that write content only if it is a list of items; they drop content that is a string. */
const requiresContentList = /^(idefics3|llava_next|smolvlm)(_training)?$/;

let tokenizer: FolderTokenizer;
beforeAll(async () => {
  tokenizer = await loadTokenizer(goldenPath('tokenizers', 'qwen-bpe'));
});

function rendererOf(name: string): ChatRenderer {
  const { template } = readGolden<Fixture>('chat-templates', `${name}.json`);
  return createRenderer(template, { specialTokens: index.variables, tokenizer, now: () => new Date(index.now) });
}

const inCodePoints = (text: string, position: number): number => Array.from(text.slice(0, position)).length;

/**
 * Returns transformers' mask of spans: from the token of the first character to that of the last. As in transformers, a
 * span without tokens ends the search.
 */
function maskOf(text: string, spans: readonly TextSpan[]): number[] {
  const { ids, starts, ends } = tokenizer.encodeWithSpans(text);
  const tokenAt = (position: number): number =>
    ids.findIndex((_, i) => (starts[i] ?? 0) <= position && position < (ends[i] ?? 0));
  const mask = ids.map(() => 0);
  for (const { start, end } of spans) {
    const lastCharacter = end - (/[\udc00-\udfff]/.test(text.charAt(end - 1)) ? 2 : 1);
    const [first, last] = [tokenAt(start), tokenAt(lastCharacter)];
    if (first < 0) break;
    mask.fill(1, first, last < 0 ? mask.length : last + 1);
  }
  return mask;
}

it('has fixtures', () => {
  expect(names.length).toBeGreaterThan(60);
});

describe.each(names)('%s', (name) => {
  const fixture = readGolden<Fixture>('chat-templates', `${name}.json`);

  it.each(
    fixture.results.map(
      (result) => [`${result.conversation}${result.add_generation_prompt ? ', prompt' : ''}`, result] as const,
    ),
  )('%s', (_, result) => {
    const conversation = conversations.get(result.conversation);
    if (conversation === undefined) throw new Error(`no conversation ${result.conversation}`);
    const renderer = rendererOf(name);
    const { messages, tools } = conversation;
    const render = (): string =>
      result.add_generation_prompt ? renderer.renderPrompt(messages, tools) : renderer.render(messages, tools).text;
    if (result.error !== undefined) {
      let thrown: unknown;
      try {
        render();
      } catch (error) {
        thrown = error;
      }
      expect(thrown).toBeInstanceOf(WhetstoneError);
      expect((thrown as WhetstoneError).code).toBe('TEMPLATE_FAILED');
      if (result.error.type === 'TemplateError') expect((thrown as WhetstoneError).message).toBe(result.error.message);
      return;
    }
    expect(render()).toBe(result.text);
    if (result.add_generation_prompt || result.assistant_char_spans === undefined) return;
    const { text, generationSpans = [] } = renderer.render(messages, tools);
    expect(generationSpans.map(({ start, end }) => [inCodePoints(text, start), inCodePoints(text, end)])).toEqual(
      result.assistant_char_spans,
    );
    const mask = maskOf(text, generationSpans);
    expect(mask.length).toBe(result.qwen_bpe_token_count);
    const [starts = [], ends = []] = result.qwen_bpe_mask_ones ?? [];
    expect(mask.flatMap((one, i) => (one === 1 && mask[i - 1] !== 1 ? [i] : []))).toEqual(starts);
    expect(mask.flatMap((one, i) => (one === 1 && mask[i + 1] !== 1 ? [i + 1] : []))).toEqual(ends);
  });

  it('finds every turn of the assistant', () => {
    const renderer = rendererOf(name);
    let found = 0;
    for (const { messages, tools } of index.conversations) {
      let rendered;
      try {
        rendered = renderer.render(messages, tools);
      } catch {
        continue;
      }
      expect(rendered.turns.length).toBe(messages.length);
      for (const [i, turn] of rendered.turns.entries()) {
        const message = messages[i];
        if (message?.role !== 'assistant' || typeof message.content !== 'string') continue;
        // Templates may trim the content and drop earlier thoughts; the rest of the content must be in the turn.
        const words = message.content.split('</think>').at(-1)?.trim() ?? '';
        if (words === '' || !rendered.text.includes(words)) continue;
        expect(turn, `${message.content} has a turn`).not.toBeNull();
        expect(rendered.text.slice(turn?.start, turn?.end)).toContain(words);
        found++;
      }
    }
    expect(found > 0, 'some turns were compared').toBe(!requiresContentList.test(name));
  });
});

/**
 * TRL contains two versions of some templates: the original, and one with generation tags for training. The turns found
 * in the original are compared with the tags, ignoring white space at the ends. This table lists the known differences.
 */
const header =
  'TRL also marks the header of the role, which the model never generates because the generation prompt contains it';
const knownDifferences: Readonly<
  Record<string, { readonly reason: string; readonly kind: 'earlier start' | 'later end' }>
> = {
  deepseek_r1_distill: { kind: 'earlier start', reason: header },
  deepseekv3: { kind: 'earlier start', reason: header },
  gptoss: { kind: 'earlier start', reason: header },
  muse_glimmer: { kind: 'earlier start', reason: header },
  qwen2_5: { kind: 'earlier start', reason: `${header}: here its line break` },
  phi3: {
    kind: 'later end',
    reason:
      'TRL also marks the end of text that the template writes after the last turn; the turn itself ends before it',
  },
  phi3_5: {
    kind: 'later end',
    reason:
      'TRL also marks the end of text that the template writes after the last turn; the turn itself ends before it',
  },
};

describe.each(names.filter((name) => existsSync(goldenPath('chat-templates', `${name}_training.json`))))(
  '%s without tags',
  (name) => {
    it('has the turns that the training template marks', () => {
      const [plain, training] = [rendererOf(name), rendererOf(`${name}_training`)];
      const known = knownDifferences[name];
      let [comparable, compared] = [0, 0];
      for (const { id, messages, tools } of index.conversations) {
        let ours, theirs;
        try {
          ours = plain.render(messages, tools);
          theirs = training.render(messages, tools);
        } catch {
          continue;
        }
        // Some training templates write thoughts that the originals drop; these texts are not comparable.
        if (ours.text !== theirs.text) continue;
        if (messages.some(({ role }) => role === 'assistant')) comparable++;
        for (const [i, turn] of ours.turns.entries()) {
          const other = theirs.turns[i];
          if (messages[i]?.role !== 'assistant' || other === undefined || other === null) continue;
          compared++;
          const marked = ours.text.slice(other.start, other.end).trimEnd();
          const found = ours.text.slice(turn?.start, turn?.end);
          if (known === undefined) expect(found, `${id}, message ${i}`).toBe(marked);
          else if (known.kind === 'earlier start')
            expect(marked.endsWith(found), `${id}, message ${i}: ${JSON.stringify(found)}`).toBe(true);
          else expect(marked.startsWith(found), `${id}, message ${i}: ${JSON.stringify(found)}`).toBe(true);
        }
      }
      if (comparable > 0) expect(compared).toBeGreaterThan(0);
    });
  },
);

describe('stop tokens', () => {
  it.each(['smollm2', 'qwen2_5', 'qwen3', 'lfm2'])('of %s consist of the end-of-turn token', (name) => {
    expect(rendererOf(name).stopTokenIds).toEqual([tokenizer.tokenId('<|im_end|>')]);
  });
});
