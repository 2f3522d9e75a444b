import type {
  ChatRenderer,
  LanguageModel,
  Message,
  TemplateVariables,
  Tokenizer,
  ToolDefinition,
} from '@whetstone/core/contract';
import { createStreamDecoder } from '../tokenizer/index.js';
import { generateIds, type GeneratedToken, type GenerationControl, type IdGenerationOptions } from './generate-ids.js';
import type { FinishReason } from './generator.js';
import type { GenerationOptions } from './options.js';
import { createStopDetector } from './stop-strings.js';

export interface GeneratedText {
  /** Index of the prompt that the text continues. */
  readonly row: number;
  /** Complete characters; may be empty. */
  readonly text: string;
  /** Number of tokens generated in this row so far, including the stop token. */
  readonly tokens: number;
  /** Set on the last text of a row, null before. */
  readonly finish: FinishReason | null;
  /** The token and the likeliest tokens at its position; only if `logProbabilities` is set. */
  readonly alternatives?: {
    readonly id: number;
    readonly token: string;
    readonly logProbability: number;
    readonly top: readonly { readonly id: number; readonly token: string; readonly logProbability: number }[];
  };
}

export interface TextGenerationOptions extends IdGenerationOptions {
  /**
   * Whether the tokenizer adds its special tokens, such as the beginning of text. Default: false, because chat
   * templates already contain them.
   */
  readonly addSpecialTokens?: boolean;
}

/** The components of a loaded model that text generation uses. */
export interface TextGenerator {
  readonly model: LanguageModel;
  readonly tokenizer: Tokenizer;
  readonly renderer?: Pick<ChatRenderer, 'stopTokenIds'>;
}

/**
 * Continues texts and streams complete characters as they are generated. A row ends at the tokenizer's end token, at a
 * stop token of the renderer (those of the chat template and of the model's folder) or of `stopTokenIds`, and before a
 * stop string.
 *
 * @throws `USAGE` if a prompt is empty or an option is out of range
 * @throws `CONTEXT_EXCEEDED` if a prompt leaves no room for a token
 */
export async function* generateText(
  { model, tokenizer, renderer }: TextGenerator,
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
  const rows = Array.from({ length: prompts.length * (options.n ?? 1) }, () => ({
    decoder: createStreamDecoder(tokenizer, { skipSpecialTokens: true }),
    stops: createStopDetector(options.stopStrings ?? []),
    tokens: 0,
  }));
  let control: GenerationControl | undefined;
  const ids = prompts.map((prompt) =>
    tokenizer.encode(prompt, { addSpecialTokens: options.addSpecialTokens ?? false }),
  );
  const tokens = generateIds(model, ids, { ...options, stopTokenIds }, signal, (given) => {
    control = given;
  });
  for await (const { row, id, finish, alternatives } of tokens) {
    const state = rows[row];
    if (state === undefined) continue;
    state.tokens++;
    const fresh = stopTokenIds.includes(id) ? '' : state.decoder.push(id);
    const seen = state.stops.push(finish === null ? fresh : fresh + state.decoder.finish());
    if (seen.stopped) control?.finish(row);
    const rest = finish === null || seen.stopped ? '' : state.stops.finish();
    yield {
      row,
      text: seen.text + rest,
      tokens: state.tokens,
      finish: seen.stopped ? 'stop' : finish,
      ...(alternatives === undefined ? {} : { alternatives: withTexts(tokenizer, id, alternatives) }),
    };
  }
}

/** Adds the texts of tokens to their log-probabilities. */
function withTexts(
  tokenizer: Tokenizer,
  id: number,
  { logProbability, top }: NonNullable<GeneratedToken['alternatives']>,
): NonNullable<GeneratedText['alternatives']> {
  const textOf = (one: number): string => tokenizer.decode([one]);
  return { id, token: textOf(id), logProbability, top: top.map((one) => ({ ...one, token: textOf(one.id) })) };
}

/** Streams the assistant's reply to a conversation, which is rendered with the model's chat template. */
export async function* generateReply(
  loaded: TextGenerator & { readonly renderer: ChatRenderer },
  messages: readonly Message[],
  options: GenerationOptions & {
    readonly tools?: readonly ToolDefinition[];
    readonly templateVariables?: TemplateVariables;
  } = {},
  signal?: AbortSignal,
): AsyncGenerator<GeneratedText, void, undefined> {
  const prompt = loaded.renderer.renderPrompt(messages, options.tools, options.templateVariables);
  yield* generateText(loaded, [prompt], options, signal);
}

/** Joins streamed text into one string per row. */
export async function collectText(stream: AsyncIterable<GeneratedText>, rows: number): Promise<string[]> {
  const texts = Array.from({ length: rows }, () => '');
  for await (const { row, text } of stream) texts[row] = (texts[row] ?? '') + text;
  return texts;
}
