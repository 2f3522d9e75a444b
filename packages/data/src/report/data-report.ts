import type { Origin, TransformReport } from '@whetstone/core/contract';
import type { NothingToLearnCause } from '../examples/tokenize.js';
import type { Inspection } from '../proof/inspect.js';
import type { SupervisionFindings } from '../proof/observe.js';
import type { Diversity } from './diversity.js';
import type { Histogram } from './histogram.js';
import type { SampleScore } from './score.js';
import type { Suspect, SuspectReason } from './suspects.js';
import type { Topics } from './topics.js';

/** A sample that the report lists. */
export interface ListedSample {
  readonly origin: Origin;
  readonly score: SampleScore;
  readonly preview: string;
}

/** The measurements of a data set, as plain data. The HTML page shows the same. */
export interface DataReport {
  readonly title: string;
  readonly files: readonly string[];
  readonly conversations: number;
  readonly messages: number;
  readonly turns: Histogram;
  readonly characters: Histogram;
  readonly languages: Readonly<Record<string, number>>;
  readonly topics: Topics;
  readonly diversity: Diversity;
  readonly duplicates: {
    readonly exact: number;
    readonly near: number;
    readonly first: readonly { readonly origin: Origin; readonly detail: string; readonly preview: string }[];
  };
  readonly scores: Histogram;
  /** Mean component scores, from 0 to 1. */
  readonly parts: { readonly completeness: number; readonly conciseness: number; readonly consistency: number };
  readonly worst: readonly ListedSample[];
  readonly suspects: {
    readonly count: number;
    readonly reasons: Readonly<Partial<Record<SuspectReason, number>>>;
    readonly first: readonly Suspect[];
  };
  readonly unreadable: {
    readonly count: number;
    readonly first: readonly { readonly origin: Origin; readonly reason: string }[];
  };
  readonly transforms: readonly TransformReport[];
  /** Null without a tokenizer and a template. */
  readonly tokens: {
    readonly lengths: Histogram;
    readonly supervised: number;
    readonly total: number;
    readonly maxLength: number | null;
    readonly truncated: number;
    readonly withoutTargets: Readonly<Partial<Record<NothingToLearnCause, number>>>;
    readonly supervision: SupervisionFindings;
    readonly inspections: readonly Inspection[];
  } | null;
  /**
   * The mean loss per token under a model, for a random sample if there are many conversations. Null without a model.
   */
  readonly difficulty: {
    readonly losses: Histogram;
    readonly hardest: readonly { readonly origin: Origin; readonly loss: number; readonly preview: string }[];
  } | null;
}
