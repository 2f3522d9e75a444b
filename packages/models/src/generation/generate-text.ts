import type { LanguageModel, Message, ToolDefinition, Tokenizer, ChatRenderer } from '@whetstone/core/contract';
import { createStreamDecoder } from '../tokenizer/index.js';
import { generateIds, type FinishReason, type GenerationControl } from './generate-ids.js';
import type { GenerationOptions } from './options.js';
import { watchForStops } from './stop-strings.js';

export interface GeneratedText {
  /** Which prompt it continues. */
  readonly row: number;
  /** Whole characters, ready to be shown; may be empty. */
  readonly text: string;
  /** Tokens that the row has generated so far, the stop token included. */
  readonly tokens: number;
  /** Set on a row's last part. */
  readonly finish: FinishReason | null;
}

export interface TextGenerationOptions extends GenerationOptions {
  /**
   * Whether the tokenizer adds the special tokens of a text of its own (a beginning of text); false by default, as chat
   * templates write theirs.
   */
  readonly addSpecialTokens?: boolean;
}

/** What generation needs of a loaded model. */
export interface GenerationParts {
  readonly model: LanguageModel;
  readonly tokenizer: Tokenizer;
  readonly renderer?: Pick<ChatRenderer, 'stopTokenIds'>;
}

/**
 * Continues texts, streaming: parts of text by row as they become whole. Ends at the tokenizer's end token, the chat
 * template's stop tokens or `stopTokenIds`, and before a stop text.
 *
 * @throws WhetstoneError `USAGE` for an empty prompt, `CONTEXT_EXCEEDED` for one that does not fit the model's context
 */
export async function* generateText(
  { model, tokenizer, renderer }: GenerationParts,
  prompts: readonly string[],
  options: TextGenerationOptions = {},
  signal?: AbortSignal,
): AsyncGenerator<GeneratedText, void, undefined> {
  const stopTokenIds = [
    ...new Set([
      ...(options.stopTokenIds ?? []),
      ...(renderer?.stopTokenIds ?? []),
      ...(tokenizer.eosTokenId === null ? [] : [tokenizer.eosTokenId]),
    ]),
  ];
  const rows = prompts.map(() => ({
    decoder: createStreamDecoder(tokenizer, { skipSpecialTokens: true }),
    watch: watchForStops(options.stopStrings ?? []),
    tokens: 0,
  }));
  let control: GenerationControl | undefined;
  const ids = prompts.map((prompt) =>
    tokenizer.encode(prompt, { addSpecialTokens: options.addSpecialTokens ?? false }),
  );
  const tokens = generateIds(model, ids, { ...options, stopTokenIds }, signal, (given) => {
    control = given;
  });
  for await (const { row, id, finish } of tokens) {
    const state = rows[row];
    if (state === undefined) continue;
    state.tokens += 1;
    const fresh = stopTokenIds.includes(id) ? '' : state.decoder.push(id);
    const seen = state.watch.push(finish === null ? fresh : fresh + state.decoder.finish());
    if (seen.stopped) control?.finish(row);
    const rest = finish === null || seen.stopped ? '' : state.watch.finish();
    yield { row, text: seen.text + rest, tokens: state.tokens, finish: seen.stopped ? 'stop' : finish };
  }
}

/**
 * The assistant's reply to a conversation, streaming. The conversation is rendered by the model's own chat template.
 */
export async function* generateReply(
  loaded: GenerationParts & { readonly renderer: ChatRenderer },
  messages: readonly Message[],
  options: GenerationOptions & { readonly tools?: readonly ToolDefinition[] } = {},
  signal?: AbortSignal,
): AsyncGenerator<GeneratedText, void, undefined> {
  yield* generateText(loaded, [loaded.renderer.renderPrompt(messages, options.tools)], options, signal);
}

/** Joins the parts of streamed text: one text a row. */
export async function collectText(parts: AsyncIterable<GeneratedText>, rows: number): Promise<string[]> {
  const texts = Array.from({ length: rows }, () => '');
  for await (const { row, text } of parts) texts[row] = (texts[row] ?? '') + text;
  return texts;
}
