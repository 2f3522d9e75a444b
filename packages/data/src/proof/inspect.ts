import type { createColors } from 'picocolors';
import type { ChatRenderer, Conversation, Tokenizer } from '@whetstone/core/contract';
import type { BatchOptions } from '../batching/options.js';
import { defaultBatchOptions } from '../batching/options.js';
import { createTokenize, type Tokenized } from '../examples/tokenize.js';
import { truncate } from '../examples/truncate.js';

/** Consecutive tokens of a sample that are all targets, all context, or all truncated. */
interface InspectedSpan {
  readonly text: string;
  readonly tokens: number;
  readonly state: 'learned' | 'context' | 'cut';
}

/** The target tokens of a sample. Commands write it as JSON, so its keys and states are stable. */
export interface Inspection {
  readonly stretches: readonly InspectedSpan[];
  readonly tokens: number;
  readonly supervisedTokens: number;
}

function spansOf({ ids, supervised }: Tokenized, tokenizer: Tokenizer): InspectedSpan[] {
  const spans: InspectedSpan[] = [];
  for (let start = 0; start < ids.length;) {
    let end = start + 1;
    while (end < ids.length && supervised[end] === supervised[start]) end++;
    spans.push({
      text: tokenizer.decode(ids.slice(start, end)),
      tokens: end - start,
      state: supervised[start] === 1 ? 'learned' : 'context',
    });
    start = end;
  }
  return spans;
}

/**
 * Returns which tokens of a conversation are targets in batches with these options. Truncated tokens are included if
 * `truncationMode` is `keep_start`.
 */
export function inspectConversation(
  conversation: Conversation,
  dependencies: { readonly tokenizer: Tokenizer; readonly renderer: ChatRenderer },
  options: Partial<BatchOptions> = {},
): Inspection {
  const all: BatchOptions = { ...defaultBatchOptions, ...options };
  const { tokenizer } = dependencies;
  const tokenize = createTokenize(dependencies, all);
  const full = tokenize(conversation);
  const kept = truncate(conversation, full, all.maxLength, all.truncationMode, tokenize);
  const spans = spansOf(kept, tokenizer);
  const cut = all.truncationMode === 'keep_start' ? full.ids.slice(kept.ids.length) : [];
  return {
    stretches: cut.length === 0 ? spans : [...spans, { text: tokenizer.decode(cut), tokens: cut.length, state: 'cut' }],
    tokens: kept.ids.length,
    supervisedTokens: kept.supervised.reduce((sum, mark) => sum + mark, 0),
  };
}

/**
 * Formats an inspection: target tokens on a green background, context dim, truncated text red and struck
 * through. Without colours, target tokens are in ⟦…⟧ and truncated text in ⟨…⟩.
 */
export function formatInspection(
  { stretches, tokens, supervisedTokens }: Inspection,
  paint: ReturnType<typeof createColors>,
): string {
  const body = stretches.map(({ text, state }) => {
    if (!paint.isColorSupported) return state === 'learned' ? `⟦${text}⟧` : state === 'cut' ? `⟨${text}⟩` : text;
    // Colours are set per line, so that the background does not extend to the edge of the screen.
    const style = (line: string): string =>
      state === 'learned'
        ? paint.black(paint.bgGreen(line))
        : state === 'cut'
          ? paint.red(paint.strikethrough(line))
          : paint.dim(line);
    return text
      .split('\n')
      .map((line) => (line === '' ? line : style(line)))
      .join('\n');
  });
  const share = tokens === 0 ? 0 : (100 * supervisedTokens) / tokens;
  return (
    `${body.join('')}\n` +
    `${paint.bold(`${supervisedTokens} of ${tokens} tokens are target tokens (${share.toFixed(1)} %)`)}\n`
  );
}
