import type { Json } from './json.js';

/**
 * A call of a tool that the assistant asks for.
 *
 * @public
 */
export interface ToolCall {
  readonly id?: string;
  readonly type?: 'function';
  readonly function: { readonly name: string; readonly arguments: Json };
}
/** The definition of a tool, as the chat template expects it. */
export type ToolDefinition = Json;

/** One part of a message whose content is a list (`{type: 'text', text}`). */
export interface ContentPart {
  readonly type: string;
  readonly text?: string;
  readonly [key: string]: Json | undefined;
}

/** One message of a conversation. */
export interface Message {
  /** `system`, `user`, `assistant`, `tool`, or whatever the template knows. */
  readonly role: string;
  readonly content: string | readonly ContentPart[] | null;
  readonly tool_calls?: readonly ToolCall[];
  readonly [key: string]: unknown;
  /**
   * Whether this turn belongs to the prompt of a pair of prompt and completion: it is not learned from, unless
   * `completionOnlyLoss` is false.
   */
  readonly isPrompt?: boolean;
  /** Overrides whether this turn is learned from; by default the assistant's turns are. */
  readonly train?: boolean;
  /** How much the tokens of this turn count in the loss, where it is learned from; 1 by default, 0 for not at all. */
  readonly weight?: number;
}

/** Where a record came from. `line` counts from 1. */
export interface Origin {
  readonly file?: string;
  readonly line?: number;
  readonly index: number;
}

/** One conversation of a data set, as read. */
export interface Conversation {
  readonly messages: readonly Message[];
  readonly tools?: readonly ToolDefinition[];
  readonly origin: Origin;
  /**
   * `chat` is rendered by the template; `completion` is prompt text and reply text joined as they are; `text` is
   * supervised throughout.
   */
  readonly form: 'chat' | 'completion' | 'text';
  /** Further columns of the record (topic, difficulty, …), untouched. */
  readonly columns?: Readonly<Record<string, Json>>;
}

/** The label of a position that is not learned from. */
export const IGNORED_LABEL = -100;

/**
 * One tokenised conversation. `labels[i]` is `ids[i]` where position i is learned, else {@link IGNORED_LABEL}; the
 * shift by one is the step's.
 */
export interface Example {
  readonly ids: Int32Array;
  readonly labels: Int32Array;
  readonly origin: Origin;
}

/**
 * What one forward pass sees: `rows × length` tokens, row-major, padded on the right. `segmentIds` is 0 at padding and
 * 1, 2, … for the documents of a row (all 1 where a row holds one document): attention never crosses a segment.
 * `positionIds` restart at 0 in every segment.
 */
export interface Batch {
  readonly rows: number;
  readonly length: number;
  readonly ids: Int32Array;
  readonly labels: Int32Array;
  readonly segmentIds: Int32Array;
  readonly positionIds: Int32Array;
  /**
   * How much each position's label counts in the loss, [rows × length]; absent where every label counts 1. Never 0 at a
   * label that counts.
   */
  readonly weights?: Float32Array;
  /** Conversations in the batch. */
  readonly samples: number;
  /** Tokens that are not padding. */
  readonly tokens: number;
  /** Targets: labels that count after the shift by one within their segment. */
  readonly supervisedTokens: number;
  /** Where its conversations came from, for errors to name. */
  readonly origins?: readonly Origin[];
}

/**
 * A finite, replayable dataset. `epoch(n)` is the same sequence at every call with the same n.
 * Iterating never changes the source; a position is resumed with `skip` batches already consumed.
 */
export interface BatchSource {
  /** Batches in one epoch. */
  readonly batchesPerEpoch: number;
  /** Returns the batches of one epoch, in its order, without the first `skip`. */
  epoch(epoch: number, options?: { readonly skip?: number }): Iterable<Batch> | AsyncIterable<Batch>;
  /** What was read, skipped and why: for the report at the start of a run. */
  readonly summary: DataSummary;
}

/** What a data set holds, and what was left out of it. */
export interface DataSummary {
  readonly files: readonly string[];
  readonly conversations: number;
  readonly unreadable: readonly { readonly origin: Origin; readonly reason: string }[];
  readonly truncated: number;
  readonly withoutTargets: number;
  readonly tokens: number;
  readonly supervisedTokens: number;
  /** Tokens of the longest conversation, as it was cut. */
  readonly longest?: number;
  /** Hex SHA-256 over the contents: the same data, the same hash. */
  readonly contentHash: string;
  /** What the data was made of and what happened to it, for the folder of the run. */
  readonly manifest?: Json;
}
