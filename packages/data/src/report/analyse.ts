import type { Conversation, DataSource, Origin, TransformReport } from '@whetstone/core/contract';
import { defaultBatchOptions, type BatchOptions } from '../batching/options.js';
import type { ThreadOptions } from '../parallel/pass.js';
import type { DataReport } from './data-report.js';
import { createGatherer, type Gatherer } from './gather.js';
import { histogramOf } from './histogram.js';
import { createMeasure, LISTED, previewOf, type MeasureOptions, type Tokenizing } from './measure.js';
import { measureOnThreads } from './measure-on-threads.js';
import { chunk } from '../reading/chunk.js';
import { outlyingLosses } from './suspects.js';

export interface AnalyseInputs {
  readonly title: string;
  readonly source: DataSource;
  /** For lengths in tokens and what of them is learned. */
  readonly tokenizing?: Tokenizing;
  readonly options?: Partial<BatchOptions>;
  /** Mean loss of each conversation's learned tokens under a model, or null where one has none. */
  readonly lossesOf?: (conversations: readonly Conversation[]) => Promise<readonly (number | null)[]>;
  /** Conversations whose loss is measured: a fair sample of all. */
  readonly lossSample?: number;
  /** What transforms did before: taken when everything was read. */
  readonly reports?: () => readonly TransformReport[];
  /** Worker threads for large data; without it, this thread does all. The report is the same. */
  readonly threads?: ThreadOptions;
}

const HARDEST = 12;
/** Conversations whose losses are asked for together. */
const TOGETHER = 64;

/** The losses of conversations under a model, where they have any. */
async function measureLosses(
  sample: readonly Conversation[],
  lossesOf: NonNullable<AnalyseInputs['lossesOf']>,
): Promise<{ conversation: Conversation; origin: Origin; loss: number }[]> {
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

/** Measures all of a source on this thread. */
async function measureInOrder(
  source: DataSource,
  tokenizing: Tokenizing | null,
  options: MeasureOptions,
): Promise<Gatherer> {
  const gatherer = createGatherer(options, tokenizing !== null);
  const measure = createMeasure(tokenizing, options);
  for await (const some of chunk(source.conversations(), TOGETHER)) gatherer.take(measure(some, gatherer.hint()));
  return gatherer;
}

/**
 * Reads a source to its end and measures it: counts, lengths, languages, topics, diversity, duplicates, suspects and a
 * score for every sample; with a tokenizer also what is learned, with a model also how difficult it is. Some 700 bytes
 * a conversation are kept in memory.
 */
export async function analyseData({
  title,
  source,
  tokenizing,
  options = {},
  lossesOf,
  lossSample = 500,
  reports,
  threads,
}: AnalyseInputs): Promise<DataReport> {
  const measured: MeasureOptions = {
    options: { ...defaultBatchOptions, ...options },
    lossSample: lossesOf ? lossSample : 0,
  };
  const gatherer =
    (threads ? await measureOnThreads(source, tokenizing ?? null, measured, threads) : null) ??
    (await measureInOrder(source, tokenizing ?? null, measured));
  const found = gatherer.result();
  const losses = lossesOf ? await measureLosses(found.lossSample, lossesOf) : [];
  const outlying = outlyingLosses(losses);
  return {
    title,
    files: source.files,
    ...found.report,
    suspects: {
      count: found.suspects.count + outlying.length,
      first: [...found.suspects.first, ...outlying].slice(0, LISTED),
    },
    unreadable: { count: source.unreadable.length, first: source.unreadable.slice(0, LISTED) },
    transforms: reports?.() ?? [],
    tokens: found.tokens && { ...found.tokens, maxLength: measured.options.maxLength },
    difficulty:
      losses.length === 0
        ? null
        : {
            losses: histogramOf(
              losses.map(({ loss }) => loss),
              24,
              false,
            ),
            hardest: [...losses]
              .sort((a, b) => b.loss - a.loss)
              .slice(0, HARDEST)
              .map(({ conversation, loss }) => ({
                origin: conversation.origin,
                loss,
                preview: previewOf(conversation),
              })),
          },
  };
}
