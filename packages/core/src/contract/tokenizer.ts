import type { Message, TemplateVariables, ToolDefinition } from './data.js';
import type { Recipe } from './recipe.js';

/** Converts text to token ids and back. The ids are those of the model's `tokenizer.json`. */
export interface Tokenizer {
  /** The number of ids, including added tokens: the minimum number of rows of the model's embedding. */
  readonly vocabularySize: number;
  readonly bosTokenId: number | null;
  readonly eosTokenId: number | null;
  readonly padTokenId: number | null;
  /** The hex SHA-256 of everything that determines the ids, for caches; absent if it is unknown. */
  readonly hash?: string;
  /** Tells a worker thread how to create the same tokenizer. */
  readonly recipe?: Recipe;
  /**
   * Returns the token ids of a text.
   *
   * @param options.addSpecialTokens adds the special tokens of the post-processor; false by default, because chat
   *   templates write their own
   */
  encode(text: string, options?: { readonly addSpecialTokens?: boolean }): number[];
  /**
   * Returns the token ids of a text, without special tokens, and the range of the text that each token covers. Token i
   * covers the UTF-16 code units from `starts[i]` to `ends[i]`, end excluded. Tokens that hold bytes of one character
   * all have its range. The ranges are in ascending order. Text that the tokenizer drops is in no range.
   */
  encodeWithSpans(text: string): EncodedText;
  /**
   * Returns the text of token ids.
   *
   * @param options.skipSpecialTokens omits special tokens from the text; false by default
   */
  decode(ids: readonly number[], options?: { readonly skipSpecialTokens?: boolean }): string;
  /** Returns the id of the token with exactly this text, for example `<|im_end|>`, or undefined if there is none. */
  tokenId(token: string): number | undefined;
}

/** The token ids of a text with the half-open range of UTF-16 code units that each token covers. */
export interface EncodedText {
  readonly ids: readonly number[];
  readonly starts: readonly number[];
  readonly ends: readonly number[];
}

/** A half-open range of UTF-16 code units in a rendered text. */
export interface TextSpan {
  readonly start: number;
  readonly end: number;
}

/** A rendered conversation with the range of each message. */
export interface RenderedConversation {
  readonly text: string;
  /**
   * For each message, the range of its content in `text`, including the end of the turn but not the role header. Null
   * if the template drops the message.
   */
  readonly turns: readonly (TextSpan | null)[];
  /** The ranges that the template marks with `{% generation %}` tags, in order; absent if it has no such tags. */
  readonly generationSpans?: readonly TextSpan[];
  /**
   * The ranges within turns of the assistant that it did not write, such as results of tools with the markers around
   * them; absent if there are none. They are never target tokens.
   */
  readonly foreignSpans?: readonly TextSpan[];
}

/** Renders conversations with the chat template. Training, evaluation, chat and serving all use the same renderer. */
export interface ChatRenderer {
  /** The hex SHA-256 of the template and everything else that determines the text. Stored in every checkpoint. */
  readonly hash: string;
  /** The time that the template writes, in ISO format; absent if it writes none. It is the same for the whole run. */
  readonly time?: string;
  /**
   * Tells a worker thread how to create the same renderer. Its function is called with the argument and the tokenizer.
   */
  readonly recipe?: Recipe;
  /**
   * Renders a complete conversation and returns the range of each message.
   *
   * @param variables further variables of the template, such as `enable_thinking`
   * @throws `TEMPLATE_FAILED` if the template fails or rejects the conversation
   */
  render(
    messages: readonly Message[],
    tools?: readonly ToolDefinition[],
    variables?: TemplateVariables,
  ): RenderedConversation;
  /**
   * Renders a conversation with the generation prompt, so that the assistant's reply comes next.
   *
   * @throws `TEMPLATE_FAILED` if the template fails or rejects the conversation
   */
  renderPrompt(messages: readonly Message[], tools?: readonly ToolDefinition[], variables?: TemplateVariables): string;
  /**
   * The token ids that end an assistant's turn: those of the chat template, of the tokenizer and of the model's folder.
   * Generation stops at them, and each supervised turn must contain one.
   */
  readonly stopTokenIds: readonly number[];
}
