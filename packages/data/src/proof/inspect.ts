import { createColors } from 'picocolors';
import type { ChatRenderer, Conversation, Tokenizer } from '@whetstone/core/contract';
import type { BatchOptions } from '../batching/options.js';
import { defaultBatchOptions } from '../batching/options.js';
import { createTokenize, type Tokenized } from '../examples/tokenize.js';
import { truncate } from '../examples/truncate.js';

/** A stretch of a sample whose tokens are all learned, all context, or all cut off. */
interface InspectedStretch {
  readonly text: string;
  readonly tokens: number;
  readonly state: 'learned' | 'context' | 'cut';
}

export interface Inspection {
  readonly stretches: readonly InspectedStretch[];
  readonly tokens: number;
  readonly supervisedTokens: number;
}

function stretchesOf({ ids, learned }: Tokenized, tokenizer: Tokenizer): InspectedStretch[] {
  const stretches: InspectedStretch[] = [];
  for (let start = 0; start < ids.length;) {
    let end = start + 1;
    while (end < ids.length && learned[end] === learned[start]) end++;
    stretches.push({
      text: tokenizer.decode(ids.slice(start, end)),
      tokens: end - start,
      state: learned[start] === 1 ? 'learned' : 'context',
    });
    start = end;
  }
  return stretches;
}

/**
 * Shows what of a conversation is learned, exactly as batches of these options would have it, and what is cut off where
 * its start is kept.
 */
export function inspectConversation(
  conversation: Conversation,
  dependencies: { readonly tokenizer: Tokenizer; readonly renderer: ChatRenderer },
  options: Partial<BatchOptions> = {},
): Inspection {
  const all: BatchOptions = { ...defaultBatchOptions, ...options };
  const { tokenizer } = dependencies;
  const tokenize = createTokenize(dependencies, all);
  const whole = tokenize(conversation);
  const kept = truncate(conversation, whole, all.maxLength, all.truncationMode, tokenize);
  const stretches = stretchesOf(kept, tokenizer);
  const cut = all.truncationMode === 'keep_start' ? whole.ids.slice(kept.ids.length) : [];
  return {
    stretches:
      cut.length === 0 ? stretches : [...stretches, { text: tokenizer.decode(cut), tokens: cut.length, state: 'cut' }],
    tokens: kept.ids.length,
    supervisedTokens: kept.learned.reduce((sum, mark) => sum + mark, 0),
  };
}

/** Control characters as their pictures: data must not move the cursor or ring the bell. Tabs and line breaks stay. */
const withoutControls = (text: string): string =>
  text.replace(/(?![\t\n])\p{Cc}/gu, (mark) =>
    mark < ' ' ? String.fromCodePoint(0x2400 + mark.charCodeAt(0)) : mark === '\u007F' ? '␡' : '�',
  );

/**
 * An inspection for a terminal: learned text green on its own ground, context dim, cut text struck through in red;
 * without colours, in ⟦…⟧ and ⟨…⟩.
 */
export function formatInspection(
  { stretches, tokens, supervisedTokens }: Inspection,
  { colors }: { readonly colors: boolean },
): string {
  const paint = createColors(colors);
  const body = stretches.map(({ text: raw, state }) => {
    const text = withoutControls(raw);
    if (!colors) return state === 'learned' ? `⟦${text}⟧` : state === 'cut' ? `⟨${text}⟩` : text;
    // Colours end at line breaks, so that a background does not run to the edge of the screen.
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
    `${paint.bold(`${supervisedTokens} of ${tokens} tokens are learned (${share.toFixed(1)} %)`)}\n`
  );
}
