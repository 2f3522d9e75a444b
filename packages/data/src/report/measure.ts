import type { ChatRenderer, Conversation, Tokenizer } from '@whetstone/core/contract';
import { causeOf } from '../batching/nothing-to-learn.js';
import type { BatchOptions } from '../batching/options.js';
import { textOf } from '../examples/message-text.js';
import { countTargets, createTokenize, type NothingToLearnCause } from '../examples/tokenize.js';
import { truncate } from '../examples/truncate.js';
import { fingerprintBuffers, packFingerprints, type PackedFingerprints } from '../parallel/fingerprints.js';
import { inspectConversation, type Inspection } from '../proof/inspect.js';
import { createSupervisionObserver, type SupervisionFindings } from '../proof/observe.js';
import { fingerprintOf } from '../transforms/duplicates/finder.js';
import { defaultDuplicateOptions } from '../transforms/duplicates/options.js';
import { hashText } from '../transforms/duplicates/fingerprint.js';
import { packOrigins, type PackedOrigins } from '../transforms/duplicates/origin-list.js';
import { createBottomSample, type Prioritized } from './bottom-sample.js';
import { ngramHashes } from './diversity.js';
import { languageOf } from './language.js';
import { previewOf } from './preview.js';
import { scoreSample, type SampleScore } from './score.js';
import { packAnswers, type PackedAnswers } from './suspects.js';
import { topicColumnOf, TOPIC_SAMPLE } from './topics.js';

/** The options of a measurement; plain data. */
export interface MeasureOptions {
  readonly options: BatchOptions;
  /** Number of conversations whose loss will be measured, drawn at random. */
  readonly lossSample: number;
}

/** What the report still needs, given the conversations so far. Measuring more does not change the report. */
export interface MeasureHint {
  readonly topicsBelow: number;
  readonly lossesBelow: number;
  readonly ngrams: boolean;
  readonly inspections: boolean;
  readonly previews: boolean;
}

export const measureAll: MeasureHint = {
  topicsBelow: Infinity,
  lossesBelow: Infinity,
  ngrams: true,
  inspections: true,
  previews: true,
};

/** A conversation of a block whose turns do not fit one another. */
type NumberedMismatch = { readonly number: number } & NonNullable<SampleScore['mismatch']>;

interface NumberedSample {
  readonly number: number;
  readonly score: SampleScore;
  readonly preview: string;
}

/** Counts by name, in the order of the first occurrence. */
export type Counts = readonly (readonly [name: string, count: number])[];

/** The measurements of consecutive conversations; plain data, which can be sent to another thread. */
export interface MeasuredBlock {
  readonly conversations: number;
  readonly messages: number;
  readonly turns: Int32Array;
  readonly characters: Int32Array;
  readonly languages: Counts;
  readonly topicColumns: Counts;
  readonly words: number;
  /** Hashes of the replies' n-grams of one, two and three words, in order; null if the report needs no more. */
  readonly ngrams: readonly [Float64Array, Float64Array, Float64Array] | null;
  readonly origins: PackedOrigins;
  readonly fingerprints: PackedFingerprints;
  readonly answers: PackedAnswers;
  readonly scores: Int32Array;
  /** Completeness, conciseness and consistency of each conversation, end to end. */
  readonly parts: Float64Array;
  readonly mismatches: readonly NumberedMismatch[];
  /** The beginning of each conversation; null if the report lists no more conversations. */
  readonly previews: readonly string[] | null;
  /** The conversations with the lowest scores. */
  readonly worst: readonly NumberedSample[];
  readonly topicSample: readonly Prioritized<Conversation>[];
  readonly lossSample: readonly Prioritized<Conversation>[];
  readonly tokens: MeasuredTokens | null;
}

export interface MeasuredTokens {
  readonly lengths: Int32Array;
  readonly supervised: number;
  readonly total: number;
  readonly truncated: number;
  readonly withoutTargets: Readonly<Partial<Record<NothingToLearnCause, number>>>;
  readonly supervision: SupervisionFindings;
  readonly inspections: readonly Inspection[];
}

export interface Tokenizing {
  readonly tokenizer: Tokenizer;
  readonly renderer: ChatRenderer;
}

/** Samples in each list of the report. */
export const LISTED = 50;
export const SHOWN_SAMPLES = 6;

/** Counts the characters (code points) of all messages. */
const charactersOf = ({ messages }: Conversation): number =>
  messages.reduce((sum, message) => {
    let characters = 0;
    for (const _ of textOf(message)) characters++;
    return sum + characters;
  }, 0);

/** Measures lengths in tokens, target tokens and truncation. */
function measureTokens(
  conversations: readonly Conversation[],
  { tokenizer, renderer }: Tokenizing,
  options: BatchOptions,
  withInspections: boolean,
): MeasuredTokens {
  const tokenize = createTokenize({ tokenizer, renderer }, options);
  const observer = createSupervisionObserver({ tokenizer, renderer });
  const withoutTargets: Partial<Record<NothingToLearnCause, number>> = {};
  let [supervised, total, truncated] = [0, 0, 0];
  const lengths = Int32Array.from(conversations, (conversation) => {
    const full = tokenize(conversation);
    observer.observe(conversation, full);
    const sample = truncate(
      conversation,
      full,
      options.maxLength,
      options.truncationMode === 'error' ? 'keep_start' : options.truncationMode,
      tokenize,
    );
    if (sample.truncated) truncated++;
    const targets = countTargets(sample.supervised);
    total += sample.ids.length;
    supervised += targets;
    if (targets === 0) {
      const cause = causeOf(conversation, full, options);
      withoutTargets[cause] = (withoutTargets[cause] ?? 0) + 1;
    }
    return full.ids.length;
  });
  const inspections = withInspections
    ? conversations
        .slice(0, SHOWN_SAMPLES)
        .map((conversation) =>
          inspectConversation(conversation, { tokenizer, renderer }, { ...options, truncationMode: 'keep_start' }),
        )
    : [];
  return { lengths, supervised, total, truncated, withoutTargets, supervision: observer.findings(), inspections };
}

function countBy(values: readonly (string | null)[]): Counts {
  const counts = new Map<string, number>();
  for (const value of values) if (value !== null) counts.set(value, (counts.get(value) ?? 0) + 1);
  return [...counts];
}

/** Draws the conversations with the smallest priorities. */
function drawFrom(
  conversations: readonly Conversation[],
  priorities: readonly number[],
  size: number,
  below: number,
): readonly Prioritized<Conversation>[] {
  const drawn = createBottomSample<Conversation>(size);
  for (const [number, conversation] of conversations.entries()) {
    const priority = priorities[number] ?? 0;
    if (priority < below) drawn.add(priority, conversation);
  }
  return drawn.sample();
}

/**
 * Creates the function that measures the conversations of a block. Blocks are independent: any thread can measure them,
 * in any order.
 */
export function createMeasure(
  tokenizing: Tokenizing | null,
  { options, lossSample }: MeasureOptions,
): (conversations: readonly Conversation[], hint: MeasureHint) => MeasuredBlock {
  return (conversations, hint) => {
    const texts = conversations.map(({ messages }) => messages.map((message) => textOf(message)).join('\n'));
    const replies = conversations.flatMap(({ messages }) =>
      messages.filter(({ role }) => role === 'assistant').map((message) => textOf(message)),
    );
    const fingerprints = conversations.map((conversation) => fingerprintOf(conversation, defaultDuplicateOptions));
    const scores = conversations.map(scoreSample);
    const { words, hashes } = ngramHashes(replies, hint.ngrams);
    // Priorities depend on content and line, so that the sample does not depend on blocks and threads.
    const priorities = (purpose: number): number[] =>
      conversations.map(({ origin }, number) =>
        hashText(`${fingerprints[number]?.hash ?? 0}:${origin.line ?? origin.index}`, purpose),
      );
    return {
      conversations: conversations.length,
      messages: conversations.reduce((sum, { messages }) => sum + messages.length, 0),
      turns: Int32Array.from(conversations, ({ messages }) => messages.filter(({ role }) => role !== 'system').length),
      characters: Int32Array.from(conversations, charactersOf),
      languages: countBy(texts.map(languageOf)),
      topicColumns: countBy(conversations.map(topicColumnOf)),
      words,
      ngrams: hashes,
      origins: packOrigins(conversations.map(({ origin }) => origin)),
      fingerprints: packFingerprints(fingerprints),
      answers: packAnswers(conversations),
      scores: Int32Array.from(scores, ({ total }) => total),
      parts: Float64Array.from(
        scores.flatMap(({ completeness, conciseness, consistency }) => [completeness, conciseness, consistency]),
      ),
      mismatches: scores.flatMap(({ mismatch }, number) => (mismatch === null ? [] : [{ number, ...mismatch }])),
      previews: hint.previews ? conversations.map(previewOf) : null,
      worst: scores
        .map((score, number) => ({ number, score }))
        .filter(({ score }) => score.total < 60)
        .sort((a, b) => a.score.total - b.score.total)
        .slice(0, LISTED)
        .map(({ number, score }) => ({ number, score, preview: previewOf(conversations[number] as Conversation) })),
      topicSample: drawFrom(conversations, priorities(1), TOPIC_SAMPLE, hint.topicsBelow),
      lossSample: lossSample === 0 ? [] : drawFrom(conversations, priorities(2), lossSample, hint.lossesBelow),
      tokens: tokenizing === null ? null : measureTokens(conversations, tokenizing, options, hint.inspections),
    };
  };
}

/** Returns the buffers of a measured block, to be transferred instead of copied. */
export const measuredBuffers = ({
  turns,
  characters,
  ngrams,
  fingerprints,
  answers,
  scores,
  parts,
  tokens,
}: MeasuredBlock): readonly ArrayBufferView[] => [
  turns,
  characters,
  ...(ngrams ?? []),
  ...fingerprintBuffers(fingerprints),
  answers.questions,
  answers.sketches.values,
  answers.sketches.ends,
  scores,
  parts,
  ...(tokens ? [tokens.lengths] : []),
];
