import type { Conversation, DataSource, Origin, TransformReport } from '@whetstone/core/contract';
import { defaultBatchOptions, type BatchOptions } from '../batching/options.js';
import type { ThreadOptions } from '../parallel/pass.js';
import type { DataReport } from './data-report.js';
import { createReportCollector, type ReportCollector } from './report-collector.js';
import { histogramOf } from './histogram.js';
import { createMeasure, LISTED, type MeasureOptions, type Tokenizing } from './measure.js';
import { measureOnThreads } from './measure-on-threads.js';
import { chunk } from '../reading/chunk.js';
import { previewOf } from './preview.js';
import { outlyingLosses } from './suspects.js';

export interface AnalyseInputs {
  readonly title: string;
  readonly source: DataSource;
  /** Tokenizer and renderer, to measure lengths in tokens and target tokens. */
  readonly tokenizing?: Tokenizing;
  readonly options?: Partial<BatchOptions>;
  /** Returns the mean loss of each conversation's target tokens under a model; null if it has none. */
  readonly lossesOf?: (conversations: readonly Conversation[]) => Promise<readonly (number | null)[]>;
  /** Number of conversations whose loss is measured, drawn at random. */
  readonly lossSample?: number;
  /** Returns the reports of transforms; called when all data was read. */
  readonly reports?: () => readonly TransformReport[];
  /** Worker threads for large data; if absent, all work runs on this thread. The report is the same. */
  readonly threads?: ThreadOptions;
}

const HARDEST = 12;
/** Conversations that are measured at once. */
const BLOCK_SIZE = 64;

/** Measures the losses of conversations, without those that have no loss. */
async function measureLosses(
  sample: readonly Conversation[],
  lossesOf: NonNullable<AnalyseInputs['lossesOf']>,
): Promise<{ conversation: Conversation; origin: Origin; loss: number }[]> {
  const found: { conversation: Conversation; origin: Origin; loss: number }[] = [];
  for (let start = 0; start < sample.length; start += BLOCK_SIZE) {
    const block = sample.slice(start, start + BLOCK_SIZE);
    const losses = await lossesOf(block);
    for (const [index, conversation] of block.entries()) {
      const loss = losses[index] ?? null;
      if (loss !== null && Number.isFinite(loss)) found.push({ conversation, origin: conversation.origin, loss });
    }
  }
  return found;
}

/** Measures a source on this thread. */
async function measureInOrder(
  source: DataSource,
  tokenizing: Tokenizing | null,
  options: MeasureOptions,
): Promise<ReportCollector> {
  const collector = createReportCollector(options, tokenizing !== null);
  const measure = createMeasure(tokenizing, options);
  for await (const block of chunk(source.conversations(), BLOCK_SIZE)) collector.take(measure(block, collector.hint()));
  return collector;
}

/**
 * Reads a source and reports counts, lengths, languages, topics, diversity, duplicates, suspects and scores. With a
 * tokenizer it also reports target tokens, with a model the difficulty. Uses about 700 bytes per conversation.
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
  const collector =
    (threads ? await measureOnThreads(source, tokenizing ?? null, measured, threads) : null) ??
    (await measureInOrder(source, tokenizing ?? null, measured));
  const found = collector.result();
  const losses = lossesOf ? await measureLosses(found.lossSample, lossesOf) : [];
  const outlying = outlyingLosses(losses);
  return {
    title,
    files: source.files,
    ...found.report,
    suspects: {
      count: found.suspects.count + outlying.length,
      reasons:
        outlying.length === 0
          ? found.suspects.reasons
          : { ...found.suspects.reasons, 'outlying-loss': outlying.length },
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
