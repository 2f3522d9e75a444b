import type { Conversation, DataSummary, Recipe, TransformReport } from '@whetstone/core/contract';
import type { BatchOptions } from '../batching/options.js';
import type { TokenBlock } from '../batching/tokenize-block.js';
import type { Row } from '../reading/row.js';
import type { MeasuredBlock, MeasureHint, MeasureOptions } from '../report/measure.js';
import type { RowOptions } from '../sources/conversations.js';
import type { FingerprintOptions } from '../transforms/duplicates/finder.js';
import type { PackedOrigins } from '../transforms/duplicates/origin-list.js';
import type { PackedFingerprints } from './fingerprints.js';
import type { PlainError } from './plain-error.js';

/** What a pass makes from the conversations that remain after all transforms. */
export type PassOutput =
  | {
      readonly kind: 'tokens';
      readonly tokenizer: Recipe;
      readonly renderer: Recipe;
      readonly options: BatchOptions;
      readonly fingerprints: FingerprintOptions | null;
    }
  /** JSON Lines. */
  | { readonly kind: 'lines' }
  /** Measurements for a report. */
  | {
      readonly kind: 'report';
      readonly tokenizing: { readonly tokenizer: Recipe; readonly renderer: Recipe } | null;
      readonly measure: MeasureOptions;
    };

/** The first message to a thread, before any block; plain data. */
export interface Setup {
  readonly fileSets: readonly { readonly options: RowOptions; readonly name: string | undefined }[];
  readonly transforms: readonly Recipe[];
  readonly output: PassOutput;
}

/** Consecutive rows of a file, or consecutive conversations that were read on the main thread. */
export type Block =
  | {
      readonly kind: 'lines';
      readonly fileSet: number;
      readonly file: string;
      readonly format: 'jsonl' | 'text';
      readonly bytes: Uint8Array;
      readonly firstLine: number;
    }
  | { readonly kind: 'rows'; readonly fileSet: number; readonly file: string; readonly rows: readonly Row[] }
  | { readonly kind: 'conversations'; readonly conversations: readonly Conversation[] };

/** The result of a worker thread for a block, up to the next ordered filter or to the end. */
export interface BlockResult {
  /** Reports of the transforms that ran since the previous result, in their order. */
  readonly reports: readonly TransformReport[];
  readonly output: BlockOutput;
  /** The error at a conversation, if any; `output` holds the conversations before it. */
  readonly failure: PlainError | null;
}

export type BlockOutput =
  /** Input of an ordered filter. */
  | {
      readonly kind: 'fingerprints';
      readonly transform: number;
      readonly origins: PackedOrigins;
      readonly fingerprints: PackedFingerprints;
    }
  | { readonly kind: 'tokens'; readonly block: TokenBlock }
  | { readonly kind: 'lines'; readonly bytes: Uint8Array }
  | { readonly kind: 'report'; readonly block: MeasuredBlock };

/** The first result of a block also describes its rows. Origins count rows from 0 within the block. */
export interface FirstBlockResult extends BlockResult {
  readonly rows: number;
  /** Conversations that were read, before any transform. */
  readonly read: number;
  /** The layout of the file; null if no row of it was recognized yet. */
  readonly layout: string | null;
  readonly unreadable: DataSummary['unreadable'];
}

export type ToWorker =
  | { readonly type: 'open'; readonly setup: Setup }
  /** `limit`: the most conversations to read; null for all. `hint`: what need not be measured for a report. */
  | {
      readonly type: 'start';
      readonly id: number;
      readonly block: Block;
      readonly layout: string | null;
      readonly limit: number | null;
      readonly hint: MeasureHint | null;
    }
  /** Continues after an ordered filter with the conversations whose `keep` is 1. `base` is added to their origins. */
  | { readonly type: 'continue'; readonly id: number; readonly keep: Uint8Array; readonly base: number };

export type FromWorker =
  | {
      readonly type: 'opened';
      readonly tokenizerHash: string | null;
      readonly rendererHash: string | null;
      readonly vocabularySize: number | null;
    }
  | { readonly type: 'refused'; readonly id: number | null; readonly error: PlainError }
  | { readonly type: 'started'; readonly id: number; readonly result: FirstBlockResult }
  | { readonly type: 'continued'; readonly id: number; readonly result: BlockResult };
