import type { ChatRenderer, Conversation, DataSource, Origin, Tokenizer, TransformReport } from '@whetstone/core/contract';
import { defaultBatchOptions, type BatchOptions } from '../batching/options.js';
import { causeOf } from '../batching/nothing-to-learn.js';
import { textOf } from '../examples/message-text.js';
import { countTargets, createTokenize, type NothingToLearnCause } from '../examples/tokenize.js';
import { truncate } from '../examples/truncate.js';
import { inspectConversation, type Inspection } from '../proof/inspect.js';
import { createSupervisionObserver, type SupervisionFindings } from '../proof/observe.js';
import { createDuplicateFinder, defaultDuplicateOptions, fingerprintOf, placeOf } from '../transforms/duplicates/finder.js';
import { createDiversityCounter, type Diversity } from './diversity.js';
import { histogramOf, type Histogram } from './histogram.js';
import { languageOf } from './language.js';
import { createReservoir } from './reservoir.js';
import { scoreSample, type SampleScore } from './score.js';
import { createContradictionFinder, outlyingLosses, type Suspect } from './suspects.js';
import { createTopicCounter, type Topics } from './topics.js';

/** A sample as the report lists it. */
export interface ListedSample {
  readonly origin: Origin;
  readonly score: SampleScore;
  readonly preview: string;
}

/** What is known of a data set: plain data, the same as the HTML page shows. */
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
  readonly duplicates: { readonly exact: number; readonly near: number; readonly first: readonly { readonly origin: Origin; readonly detail: string }[] };
  readonly scores: Histogram;
  readonly parts: { readonly completeness: number; readonly conciseness: number; readonly consistency: number };
  readonly worst: readonly ListedSample[];
  readonly suspects: { readonly count: number; readonly first: readonly Suspect[] };
  readonly unreadable: { readonly count: number; readonly first: readonly { readonly origin: Origin; readonly reason: string }[] };
  readonly transforms: readonly TransformReport[];
  /** With a tokenizer and a template alone. */
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
  /** With a model alone: mean loss a token under it, as a measure of difficulty; of a fair sample where there are many conversations. */
  readonly difficulty: { readonly losses: Histogram; readonly hardest: readonly { readonly origin: Origin; readonly loss: number; readonly preview: string }[] } | null;
}

export interface AnalyseInputs {
  readonly title: string;
  readonly source: DataSource;
  /** For lengths in tokens and what of them is learned. */
  readonly tokenizing?: { readonly tokenizer: Tokenizer; readonly renderer: ChatRenderer };
  readonly options?: Partial<BatchOptions>;
  /** Mean loss of each conversation's learned tokens under a model, or null where one has none. */
  readonly lossesOf?: (conversations: readonly Conversation[]) => Promise<readonly (number | null)[]>;
  /** Conversations whose loss is measured: a fair sample of all. */
  readonly lossSample?: number;
  /** What transforms did before: taken when everything was read. */
  readonly reports?: () => readonly TransformReport[];
}

const LISTED = 50;
const SHOWN_SAMPLES = 6;
const HARDEST = 12;
/** Conversations whose losses are asked for together. */
const TOGETHER = 64;

const preview = ({ messages }: Conversation): string =>
  messages
    .filter(({ role }) => role !== 'system')
    .map((message) => `${message.role}: ${textOf(message)}`)
    .join(' ⏎ ')
    .slice(0, 240);

/** The losses of conversations under a model, where they have any. */
async function measureLosses(sample: readonly Conversation[], lossesOf: NonNullable<AnalyseInputs['lossesOf']>): Promise<{ conversation: Conversation; origin: Origin; loss: number }[]> {
  const found: { conversation: Conversation; origin: Origin; loss: number }[] = [];
  for (let start = 0; start < sample.length; start += TOGETHER) {
    const members = sample.slice(start, start + TOGETHER);
    const losses = await lossesOf(members);
    for (const [index, conversation] of members.entries()) {
      const loss = losses[index] ?? null;
      if (loss !== null && Number.isFinite(loss)) found.push({ conversation, origin: conversation.origin, loss });
    }
  }
  return found;
}

/** Measures tokens: lengths, what is learned, what is cut. */
function createTokenMeter({ tokenizer, renderer }: NonNullable<AnalyseInputs['tokenizing']>, options: BatchOptions) {
  const tokenize = createTokenize({ tokenizer, renderer }, options);
  const observer = createSupervisionObserver({ tokenizer, renderer });
  const lengths: number[] = [];
  const inspections: Inspection[] = [];
  const withoutTargets: Partial<Record<NothingToLearnCause, number>> = {};
  let [supervised, total, truncated] = [0, 0, 0];
  return {
    add(conversation: Conversation): void {
      const whole = tokenize(conversation);
      observer.observe(conversation, whole);
      const sample = truncate(conversation, whole, options.maxLength, options.truncationMode === 'error' ? 'keep_start' : options.truncationMode, tokenize);
      lengths.push(whole.ids.length);
      if (sample.truncated) truncated++;
      const targets = countTargets(sample.learned);
      total += sample.ids.length;
      supervised += targets;
      if (targets === 0) {
        const cause = causeOf(conversation, whole, options);
        withoutTargets[cause] = (withoutTargets[cause] ?? 0) + 1;
      }
      if (inspections.length < SHOWN_SAMPLES) inspections.push(inspectConversation(conversation, { tokenizer, renderer }, { ...options, truncationMode: 'keep_start' }));
    },
    result: (): DataReport['tokens'] => ({ lengths: histogramOf(lengths), supervised, total, maxLength: options.maxLength, truncated, withoutTargets, supervision: observer.findings(), inspections }),
  };
}

/**
 * Reads a source to its end and measures it: counts, lengths, languages, topics, diversity, duplicates, suspects and a score for every sample; with a
 * tokenizer also what is learned, with a model also how difficult it is.
 */
export async function analyseData({ title, source, tokenizing, options = {}, lossesOf, lossSample = 500, reports }: AnalyseInputs): Promise<DataReport> {
  const meter = tokenizing ? createTokenMeter(tokenizing, { ...defaultBatchOptions, ...options }) : null;
  const duplicates = createDuplicateFinder(defaultDuplicateOptions);
  const contradictions = createContradictionFinder();
  const diversity = createDiversityCounter();
  const topics = createTopicCounter();
  const languages: Record<string, number> = {};
  const [turns, characters, scores]: [number[], number[], number[]] = [[], [], []];
  const drawn = createReservoir<Conversation>(lossSample, 'losses');
  const suspects: Suspect[] = [];
  const duplicatesFirst: { origin: Origin; detail: string }[] = [];
  const parts = { completeness: 0, conciseness: 0, consistency: 0 };
  const counts = { exact: 0, near: 0 };
  let worst: ListedSample[] = [];
  let messages = 0;

  for await (const conversation of source.conversations()) {
    const { origin } = conversation;
    const text = conversation.messages.map((message) => textOf(message)).join('\n');
    messages += conversation.messages.length;
    turns.push(conversation.messages.filter(({ role }) => role !== 'system').length);
    characters.push(text.length);
    const language = languageOf(text);
    languages[language] = (languages[language] ?? 0) + 1;
    topics.add(conversation);
    for (const message of conversation.messages) if (message.role === 'assistant') diversity.add(textOf(message));

    const fingerprint = fingerprintOf(conversation, defaultDuplicateOptions);
    const duplicate = duplicates.find(fingerprint);
    if (duplicate) {
      counts[duplicate.kind]++;
      if (duplicatesFirst.length < LISTED) duplicatesFirst.push({ origin, detail: `${duplicate.kind === 'exact' ? 'the same as' : `${Math.round(duplicate.similarity * 100)} % like`} ${placeOf(duplicate.of)}` });
    } else {
      duplicates.add(fingerprint, origin);
    }
    const contradicted = contradictions.add(conversation);
    if (contradicted) suspects.push({ origin, reason: 'contradiction', detail: `the question is answered otherwise in ${placeOf(contradicted)}` });

    const score = scoreSample(conversation);
    scores.push(score.total);
    for (const part of ['completeness', 'conciseness', 'consistency'] as const) parts[part] += score[part];
    if (score.consistency < 0.6) suspects.push({ origin, reason: 'inconsistent', detail: score.note ?? 'the turns do not fit one another' });
    if (score.total < 60) worst.push({ origin, score, preview: preview(conversation) });
    if (worst.length >= LISTED * 4) worst = worst.sort((a, b) => a.score.total - b.score.total).slice(0, LISTED);

    if (lossesOf) drawn.add(conversation);
    meter?.add(conversation);
  }
  const losses = lossesOf ? await measureLosses(drawn.sample, lossesOf) : [];
  suspects.push(...outlyingLosses(losses));
  const count = Math.max(1, scores.length);
  return {
    title,
    files: source.files,
    conversations: scores.length,
    messages,
    turns: histogramOf(turns),
    characters: histogramOf(characters),
    languages: Object.fromEntries(Object.entries(languages).sort(([, a], [, b]) => b - a)),
    topics: topics.result(),
    diversity: diversity.result(),
    duplicates: { ...counts, first: duplicatesFirst },
    scores: histogramOf(scores, 20),
    parts: { completeness: parts.completeness / count, conciseness: parts.conciseness / count, consistency: parts.consistency / count },
    worst: worst.sort((a, b) => a.score.total - b.score.total).slice(0, LISTED),
    suspects: { count: suspects.length, first: suspects.slice(0, LISTED) },
    unreadable: { count: source.unreadable.length, first: source.unreadable.slice(0, LISTED) },
    transforms: reports?.() ?? [],
    tokens: meter?.result() ?? null,
    difficulty:
      losses.length === 0
        ? null
        : {
            losses: histogramOf(losses.map(({ loss }) => loss), 24, false),
            hardest: [...losses].sort((a, b) => b.loss - a.loss).slice(0, HARDEST).map(({ conversation, loss }) => ({ origin: conversation.origin, loss, preview: preview(conversation) })),
          },
  };
}
