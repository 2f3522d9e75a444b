import type { Message, ToolDefinition } from './data.js';
import type { Recipe } from './recipe.js';

/** Text to token ids and back. Ids are those of the model's `tokenizer.json`. */
export interface Tokenizer {
  /** Number of ids, added tokens included: the least size of an embedding that serves this tokenizer. */
  readonly vocabularySize: number;
  readonly bosTokenId: number | null;
  readonly eosTokenId: number | null;
  readonly padTokenId: number | null;
  /** Hex SHA-256 of everything that decides the ids, for caches; absent where it is not known. */
  readonly hash?: string;
  /** How a worker thread makes the same tokenizer. */
  readonly recipe?: Recipe;
  /**
   * Returns the ids of a text.
   *
   * @param options.addSpecialTokens whether the post-processor adds its special tokens; false by default, as templates
   *   write their own.
   */
  encode(text: string, options?: { readonly addSpecialTokens?: boolean }): number[];
  /**
   * `encode` without special tokens, and where in `text` each token stands: a token covers UTF-16 units `starts[i]` up
   * to `ends[i]`. Tokens that share one character (its bytes) share its range. Ranges never run backwards; text that
   * the tokenizer drops is covered by none.
   */
  encodeWithSpans(text: string): EncodedText;
  /**
   * Returns the text of ids.
   *
   * @param options.skipSpecialTokens leaves special tokens out of the text; false by default.
   */
  decode(ids: readonly number[], options?: { readonly skipSpecialTokens?: boolean }): string;
  /** The id of one token's exact text, as `<|im_end|>`. */
  tokenId(token: string): number | undefined;
}

/** Ids of a text and the half-open ranges of UTF-16 units that each came from. */
export interface EncodedText {
  readonly ids: readonly number[];
  readonly starts: readonly number[];
  readonly ends: readonly number[];
}

/** Half-open range of UTF-16 units in a rendered text. */
export interface TextSpan {
  readonly start: number;
  readonly end: number;
}

/** A conversation as one text, and which part of it belongs to which message. */
export interface RenderedConversation {
  readonly text: string;
  /**
   * For each message: what the template wrote for its content, turn end included, role header excluded. Null where the
   * template drops the message.
   */
  readonly turns: readonly (TextSpan | null)[];
  /**
   * What the template itself marks with `{% generation %}` tags, in order, exactly; absent where it has no such tags.
   */
  readonly generationSpans?: readonly TextSpan[];
}

/** The one renderer: what training, evaluation, chat and serving use alike. */
export interface ChatRenderer {
  /** Hex SHA-256 of the template and everything else that decides the text; stored in every checkpoint. */
  readonly hash: string;
  /** How a worker thread makes the same renderer: called with the argument and the tokenizer. */
  readonly recipe?: Recipe;
  /** Renders a whole conversation and says which part of the text is whose turn. Throws `TEMPLATE_FAILED`. */
  render(messages: readonly Message[], tools?: readonly ToolDefinition[]): RenderedConversation;
  /** Renders a conversation that waits for the assistant's reply: the generation prompt is added. */
  renderPrompt(messages: readonly Message[], tools?: readonly ToolDefinition[]): string;
  /** Ids that end an assistant's turn under this template: where generation stops, and what training must supervise. */
  readonly stopTokenIds: readonly number[];
}
