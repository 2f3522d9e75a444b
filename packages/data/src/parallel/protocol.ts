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

/** What comes of the conversations that stay. */
export type Goal =
  | {
      readonly kind: 'tokens';
      readonly tokenizer: Recipe;
      readonly renderer: Recipe;
      readonly options: BatchOptions;
      readonly fingerprints: FingerprintOptions | null;
    }
  /** JSON Lines. */
  | { readonly kind: 'lines' }
  /** What a report says of them. */
  | {
      readonly kind: 'report';
      readonly tokenizing: { readonly tokenizer: Recipe; readonly renderer: Recipe } | null;
      readonly measure: MeasureOptions;
    };

/** What a thread must know before it is given blocks; plain data. */
export interface Setup {
  readonly parts: readonly { readonly options: RowOptions; readonly name: string | undefined }[];
  readonly transforms: readonly Recipe[];
  readonly goal: Goal;
}

/** Some rows of a file, or some conversations that the main thread has made. */
export type Block =
  | {
      readonly kind: 'lines';
      readonly part: number;
      readonly file: string;
      readonly format: 'jsonl' | 'text';
      readonly bytes: Uint8Array;
      readonly firstLine: number;
    }
  | { readonly kind: 'rows'; readonly part: number; readonly file: string; readonly rows: readonly Row[] }
  | { readonly kind: 'conversations'; readonly conversations: readonly Conversation[] };

/** A block on its way: what it came to so far. */
export interface Leg {
  /** What each of the transforms that were run now did, in their order. */
  readonly reports: readonly TransformReport[];
  readonly output: LegOutput;
  /** What failed at a conversation; what came before it goes on. */
  readonly failure: PlainError | null;
}

export type LegOutput =
  /** For a transform that must see all conversations in their order. */
  | {
      readonly kind: 'fingerprints';
      readonly transform: number;
      readonly origins: PackedOrigins;
      readonly fingerprints: PackedFingerprints;
    }
  | { readonly kind: 'tokens'; readonly block: TokenBlock }
  | { readonly kind: 'lines'; readonly bytes: Uint8Array }
  | { readonly kind: 'report'; readonly block: MeasuredBlock };

/** The first leg also reads the rows. Origins count rows from 0 within the block. */
export interface FirstLeg extends Leg {
  readonly rows: number;
  /** Conversations that were read, before any transform. */
  readonly read: number;
  /** The layout of the file, as far as it is known after this block. */
  readonly layout: string | null;
  readonly unreadable: DataSummary['unreadable'];
}

export type ToWorker =
  | { readonly type: 'open'; readonly setup: Setup }
  /** `limit`: only up to so many conversations; null: all of them. `hint`: what a report needs not know any more. */
  | {
      readonly type: 'start';
      readonly id: number;
      readonly block: Block;
      readonly layout: string | null;
      readonly limit: number | null;
      readonly hint: MeasureHint | null;
    }
  /** Goes on after the decision, with the conversations of which `keep` is 1; origins count from `base` from now on. */
  | { readonly type: 'continue'; readonly id: number; readonly keep: Uint8Array; readonly base: number };

export type FromWorker =
  | {
      readonly type: 'opened';
      readonly tokenizerHash: string | null;
      readonly rendererHash: string | null;
      readonly vocabularySize: number | null;
    }
  | { readonly type: 'refused'; readonly id: number | null; readonly error: PlainError }
  | { readonly type: 'started'; readonly id: number; readonly leg: FirstLeg }
  | { readonly type: 'continued'; readonly id: number; readonly leg: Leg };
