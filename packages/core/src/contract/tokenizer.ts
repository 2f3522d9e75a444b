import type { Message, ToolDefinition } from './data.js';

/** Text to token ids and back. Ids are those of the model's `tokenizer.json`. */
export interface Tokenizer {
  /** Number of ids, added tokens included: the least size of an embedding that serves this tokenizer. */
  readonly vocabularySize: number;
  readonly bosTokenId: number | null;
  readonly eosTokenId: number | null;
  readonly padTokenId: number | null;
  /** @param options.addSpecialTokens whether the post-processor adds its special tokens; false by default, as templates write their own. */
  encode(text: string, options?: { readonly addSpecialTokens?: boolean }): number[];
  /** @param options.skipSpecialTokens leaves special tokens out of the text; false by default. */
  decode(ids: readonly number[], options?: { readonly skipSpecialTokens?: boolean }): string;
  /** The id of one token's exact text, as `<|im_end|>`. */
  tokenId(token: string): number | undefined;
}

/** Half-open range of UTF-16 units in a rendered text. */
export interface TextSpan {
  readonly start: number;
  readonly end: number;
}

export interface RenderedConversation {
  readonly text: string;
  /** For each message: what the template wrote for its content, turn end included, role header excluded. Null where the template drops the message. */
  readonly turns: readonly (TextSpan | null)[];
}

/** The one renderer: what training, evaluation, chat and serving use alike. */
export interface ChatRenderer {
  /** Hex SHA-256 of the template and everything else that decides the text; stored in every checkpoint. */
  readonly hash: string;
  /** Renders a whole conversation and says which part of the text is whose turn. Throws `TEMPLATE_FAILED`. */
  render(messages: readonly Message[], tools?: readonly ToolDefinition[]): RenderedConversation;
  /** Renders a conversation that waits for the assistant's reply: the generation prompt is added. */
  renderPrompt(messages: readonly Message[], tools?: readonly ToolDefinition[]): string;
  /** Ids that end an assistant's turn under this template: where generation stops, and what training must supervise. */
  readonly stopTokenIds: readonly number[];
}
