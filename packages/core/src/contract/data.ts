import type { Json } from './json.js';

/**
 * A tool call in a message of the assistant.
 *
 * @public
 */
export interface ToolCall {
  readonly id?: string;
  readonly type?: 'function';
  readonly function: { readonly name: string; readonly arguments: Json };
}
/** The definition of a tool, in the form that the chat template expects. */
export type ToolDefinition = Json;

/** Variables of a chat template by name, such as `{"enable_thinking": false}`. */
export type TemplateVariables = Readonly<Record<string, Json>>;

/** One element of a message whose content is a list, for example `{type: 'text', text: 'Hello'}`. */
export interface ContentPart {
  readonly type: string;
  readonly text?: string;
  readonly [key: string]: Json | undefined;
}

/** One message (turn) of a conversation. */
export interface Message {
  /** `system`, `user`, `assistant`, `tool`, or any other role that the chat template supports. */
  readonly role: string;
  readonly content: string | readonly ContentPart[] | null;
  readonly tool_calls?: readonly ToolCall[];
  readonly [key: string]: unknown;
  /**
   * True for the prompt of a prompt-completion pair: its tokens are not supervised unless `completionOnlyLoss` is
   * false.
   */
  readonly isPrompt?: boolean;
  /** Overrides whether the tokens of this turn are supervised. By default only the assistant's turns are. */
  readonly train?: boolean;
  /** The weight of the turn's supervised tokens in the loss: 1 by default; 0 excludes them. */
  readonly weight?: number;
}

/** The source of a record: its file and its position in the data. */
export interface Origin {
  readonly file?: string;
  /** The line in `file`, counted from 1. */
  readonly line?: number;
  /** The position of the record in its data source, counted from 0. */
  readonly index: number;
  /** The origins of the other sources, if a transform joined several; this origin is that of the last source. */
  readonly others?: readonly Origin[];
}

/** One conversation of a data set, as read from its source. */
export interface Conversation {
  readonly messages: readonly Message[];
  readonly tools?: readonly ToolDefinition[];
  readonly origin: Origin;
  /**
   * - `chat`: rendered by the chat template.
   * - `completion`: prompt and completion are concatenated without a template.
   * - `text`: plain text; every token is supervised.
   */
  readonly form: 'chat' | 'completion' | 'text';
  /** Variables of the chat template for this conversation (`chat_template_kwargs` of its row). */
  readonly templateVariables?: TemplateVariables;
  /** The other columns of the record (topic, difficulty, …), unchanged. */
  readonly columns?: Readonly<Record<string, Json>>;
}

/** The label of a position that does not count in the loss. */
export const IGNORED_LABEL = -100;

/**
 * One tokenized conversation. `labels[i]` is `ids[i]` if token i is supervised, and {@link IGNORED_LABEL} otherwise.
 * Labels are not shifted: the training step shifts them by one.
 */
export interface Example {
  readonly ids: Int32Array;
  readonly labels: Int32Array;
  readonly origin: Origin;
}

/**
 * The input of one forward pass: `rows × length` tokens, row-major, padded on the right. A row may hold several
 * documents; attention never crosses from one document to another.
 */
export interface Batch {
  readonly rows: number;
  readonly length: number;
  /** Token ids, `[rows × length]`. */
  readonly ids: Int32Array;
  /** The token id at supervised positions, {@link IGNORED_LABEL} elsewhere, `[rows × length]`. Not shifted. */
  readonly labels: Int32Array;
  /** 0 at padding; 1, 2, … for the first, second, … document of a row, `[rows × length]`. */
  readonly segmentIds: Int32Array;
  /** The position of each token in its document, counted from 0, `[rows × length]`. */
  readonly positionIds: Int32Array;
  /**
   * The weight of each label in the loss, `[rows × length]`; absent if every label has weight 1. Never 0 at a
   * supervised position.
   */
  readonly weights?: Float32Array;
  /** The number of conversations in the batch. */
  readonly samples: number;
  /** The number of tokens that are not padding. */
  readonly tokens: number;
  /** The number of target tokens: labels that remain supervised after the shift by one within their document. */
  readonly supervisedTokens: number;
  /** The sources of the conversations, for error messages. */
  readonly origins?: readonly Origin[];
}

/** Batches of an epoch that a run consumed with other batch sizes than its present ones. */
export interface ConsumedBatches {
  readonly batchSize: number;
  readonly tokensPerBatch: number | null;
  readonly padToMultipleOf: number | null;
  /** Their positions in the epoch: from `begin` to `end`, without `end`. */
  readonly ranges: readonly { readonly begin: number; readonly end: number }[];
}

/** Where an epoch starts; see {@link BatchSource.epoch}. */
export interface EpochOptions {
  readonly skip?: number;
  readonly consumed?: readonly ConsumedBatches[];
}

/**
 * A finite data set that can be iterated repeatedly. `epoch(n)` yields the same batches at every call with the same n.
 * Iteration does not change the source; a run resumes by skipping the batches that it has already consumed.
 */
export interface BatchSource {
  /** The number of batches in one epoch. */
  readonly batchesPerEpoch: number;
  /**
   * Returns the batches of one epoch in their order, without the first `skip`. `epoch` counts from 0. With `consumed`,
   * the rows of these batches are left out, and the batches that are left have the last positions of the epoch: `skip`
   * is at least `batchesPerEpoch − batchesLeft(epoch, consumed)`. Only given to sources with `batchesLeft`.
   */
  epoch(epoch: number, options?: EpochOptions): Iterable<Batch> | AsyncIterable<Batch>;
  /**
   * Returns the number of batches of an epoch that are left after `consumed`. Absent if the source cannot continue in
   * the middle of an epoch with another batch size.
   */
  batchesLeft?(epoch: number, consumed: readonly ConsumedBatches[]): number;
  /** Counts of what was read and what was skipped, for the report at the start of a run. */
  readonly summary: DataSummary;
}

/** Describes the contents of a data set and what was excluded from it. */
export interface DataSummary {
  readonly files: readonly string[];
  /** The number of conversations in the data set. */
  readonly conversations: number;
  /** Rows that could not be read, and why. */
  readonly unreadable: readonly { readonly origin: Origin; readonly reason: string }[];
  /** The number of conversations that were truncated to the maximum length. */
  readonly truncated: number;
  /** The number of conversations without a supervised token. */
  readonly withoutTargets: number;
  /** The number of tokens, without padding. */
  readonly tokens: number;
  readonly supervisedTokens: number;
  /** The length of the longest conversation in tokens, after truncation. */
  readonly longest?: number;
  /** The hex SHA-256 of the contents: equal data has an equal hash. */
  readonly contentHash: string;
  /** Records the sources of the data and the transforms applied to it. Written to the run's folder. */
  readonly manifest?: Json;
  /** The turns to which the options of supervision apply. Absent if the source does not count them. */
  readonly turns?: TurnCounts;
}

/** The turns of a data set with one role. Only chats have turns. */
export interface RoleCounts {
  readonly role: string;
  readonly turns: number;
  /** Turns whose role decides whether they are supervised: no `train` of their own, and not in an excluded prompt. */
  readonly byRole: number;
  /** Turns that are supervised if no weight is 0 and `lastTurnOnly` is false. */
  readonly supervised: number;
  /** Those of the supervised turns that have no `weight` of their own. */
  readonly weighted: number;
}

/** The conversations and turns of a data set to which the options of supervision apply. */
export interface TurnCounts {
  /** Conversations that the chat template renders. */
  readonly chats: number;
  /** Pairs of prompt and completion, as chats or as texts. */
  readonly pairs: number;
  /** Those of the pairs whose prompt is supervised only if `completionOnlyLoss` is false. */
  readonly maskedPrompts: number;
  /** Chats with more than one supervised turn. */
  readonly withSeveralTurns: number;
  /** By role, in the order in which they first occur. */
  readonly roles: readonly RoleCounts[];
}
