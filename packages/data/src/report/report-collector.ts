import type { Conversation, Origin } from '@whetstone/core/contract';
import { GrowingInts } from '../batching/growing-ints.js';
import type { NothingToLearnCause } from '../examples/tokenize.js';
import { fingerprintAt } from '../parallel/fingerprints.js';
import type { Inspection } from '../proof/inspect.js';
import { mergeFindings, type SupervisionFindings } from '../proof/observe.js';
import { formatOrigin } from '../sources/origins.js';
import { createDuplicateFinder } from '../transforms/duplicates/finder.js';
import { defaultDuplicateOptions } from '../transforms/duplicates/options.js';
import { originAt } from '../transforms/duplicates/origin-list.js';
import type { DataReport, ListedSample } from './data-report.js';
import { createBottomSample } from './bottom-sample.js';
import { createDiversityCounter } from './diversity.js';
import { histogramOf } from './histogram.js';
import {
  LISTED,
  SHOWN_SAMPLES,
  type Counts,
  type MeasuredBlock,
  type MeasureHint,
  type MeasuredTokens,
  type MeasureOptions,
} from './measure.js';
import { createContradictionFinder, type Suspect } from './suspects.js';
import { topicsOf, TOPIC_SAMPLE } from './topics.js';

type Tokens = Omit<NonNullable<DataReport['tokens']>, 'maxLength'>;

/** The results of all blocks. */
interface CollectedReport {
  readonly report: Omit<
    DataReport,
    'title' | 'files' | 'suspects' | 'unreadable' | 'transforms' | 'tokens' | 'difficulty'
  >;
  readonly suspects: { readonly count: number; readonly first: readonly Suspect[] };
  readonly tokens: Tokens | null;
  readonly lossSample: readonly Conversation[];
}

/** Collects measured blocks, in the order of the data. */
export interface ReportCollector {
  take(block: MeasuredBlock): void;
  /** Returns what further blocks need to measure. */
  hint(): MeasureHint;
  result(): CollectedReport;
}

function pushAll(list: GrowingInts, values: Int32Array): void {
  for (const value of values) list.push(value);
}

function addCounts(sums: Map<string, number>, counts: Counts): void {
  for (const [name, count] of counts) sums.set(name, (sums.get(name) ?? 0) + count);
}

/** Collects the token measurements of blocks. */
function createTokenCounter(): {
  take(tokens: MeasuredTokens): void;
  readonly inspections: readonly Inspection[];
  result(): Tokens | null;
} {
  const lengths = new GrowingInts();
  const inspections: Inspection[] = [];
  const withoutTargets: Partial<Record<NothingToLearnCause, number>> = {};
  let supervision: SupervisionFindings | null = null;
  let [supervised, total, truncated] = [0, 0, 0];
  return {
    inspections,
    take(tokens) {
      pushAll(lengths, tokens.lengths);
      supervised += tokens.supervised;
      total += tokens.total;
      truncated += tokens.truncated;
      for (const [cause, count] of Object.entries(tokens.withoutTargets) as [NothingToLearnCause, number][])
        withoutTargets[cause] = (withoutTargets[cause] ?? 0) + count;
      supervision = supervision === null ? tokens.supervision : mergeFindings(supervision, tokens.supervision);
      for (const inspection of tokens.inspections) if (inspections.length < SHOWN_SAMPLES) inspections.push(inspection);
    },
    result: () =>
      supervision === null
        ? null
        : {
            lengths: histogramOf(lengths.values()),
            supervised,
            total,
            truncated,
            withoutTargets,
            supervision,
            inspections,
          },
  };
}

const noFindings: SupervisionFindings = {
  turns: 0,
  withoutStop: { count: 0, first: [] },
  prefixesChecked: 0,
  otherPrefix: { count: 0, first: [] },
};

/** @param withTokens whether the report of empty data has tokens */
export function createReportCollector({ lossSample }: MeasureOptions, withTokens = false): ReportCollector {
  const [turns, characters, scores] = [new GrowingInts(), new GrowingInts(), new GrowingInts()];
  const [languages, topicColumns] = [new Map<string, number>(), new Map<string, number>()];
  const duplicates = createDuplicateFinder(defaultDuplicateOptions);
  const contradictions = createContradictionFinder();
  const diversity = createDiversityCounter();
  const tokens = createTokenCounter();
  const topics = createBottomSample<Conversation>(TOPIC_SAMPLE);
  const losses = createBottomSample<Conversation>(lossSample);
  const suspects: Suspect[] = [];
  const firstDuplicates: { origin: Origin; detail: string }[] = [];
  const counts = { exact: 0, near: 0 };
  const parts: [number, number, number] = [0, 0, 0];
  let suspected = 0;
  let messages = 0;
  let worst: ListedSample[] = [];
  let measuredTokens = withTokens;

  const suspect = (one: Suspect): void => {
    suspected++;
    if (suspects.length < LISTED) suspects.push(one);
  };
  /** Searches for an earlier conversation that conversation `number` of a block repeats or contradicts. */
  const compare = (block: MeasuredBlock, number: number): void => {
    const origin = originAt(block.origins, number);
    const fingerprint = fingerprintAt(block.fingerprints, number);
    const duplicate = duplicates.find(fingerprint);
    if (duplicate) {
      counts[duplicate.kind]++;
      if (firstDuplicates.length < LISTED)
        firstDuplicates.push({
          origin,
          detail:
            (duplicate.kind === 'exact' ? 'the same as ' : `${Math.round(duplicate.similarity * 100)} % similar to `) +
            formatOrigin(duplicate.of),
        });
    } else {
      duplicates.add(fingerprint, origin);
    }
    const contradicted = contradictions.add(block.answers, number, origin);
    if (contradicted)
      suspect({
        origin,
        reason: 'contradiction',
        detail: `the same question has a different answer in ${formatOrigin(contradicted)}`,
      });
  };

  return {
    take(block) {
      messages += block.messages;
      pushAll(turns, block.turns);
      pushAll(characters, block.characters);
      pushAll(scores, block.scores);
      addCounts(languages, block.languages);
      addCounts(topicColumns, block.topicColumns);
      diversity.add(block.words, block.ngrams);
      const inconsistent = new Map(block.inconsistent.map(({ number, detail }) => [number, detail]));
      for (let number = 0; number < block.conversations; number++) {
        compare(block, number);
        const detail = inconsistent.get(number);
        if (detail !== undefined) suspect({ origin: originAt(block.origins, number), reason: 'inconsistent', detail });
        for (let component = 0; component < 3; component++)
          parts[component] = (parts[component] ?? 0) + (block.parts[number * 3 + component] ?? 0);
      }
      worst = [
        ...worst,
        ...block.worst.map(({ number, score, preview }) => ({
          origin: originAt(block.origins, number),
          score,
          preview,
        })),
      ]
        .sort((a, b) => a.score.total - b.score.total)
        .slice(0, LISTED);
      for (const { priority, value } of block.topicSample) topics.add(priority, value);
      for (const { priority, value } of block.lossSample) losses.add(priority, value);
      if (block.tokens) {
        measuredTokens = true;
        tokens.take(block.tokens);
      }
    },
    hint: () => ({
      topicsBelow: topics.below,
      lossesBelow: losses.below,
      ngrams: diversity.needsMore,
      inspections: tokens.inspections.length < SHOWN_SAMPLES,
    }),
    result() {
      const count = Math.max(1, scores.length);
      const [completeness, conciseness, consistency] = parts.map((sum) => sum / count) as [number, number, number];
      const noTokens: Tokens | null = measuredTokens
        ? {
            lengths: histogramOf([]),
            supervised: 0,
            total: 0,
            truncated: 0,
            withoutTargets: {},
            supervision: noFindings,
            inspections: [],
          }
        : null;
      return {
        report: {
          conversations: scores.length,
          messages,
          turns: histogramOf(turns.values()),
          characters: histogramOf(characters.values()),
          languages: Object.fromEntries([...languages].sort(([, a], [, b]) => b - a)),
          topics: topicsOf(
            topicColumns,
            topics.sample().map(({ value }) => value),
            scores.length,
          ),
          diversity: diversity.result(),
          duplicates: { ...counts, first: firstDuplicates },
          scores: histogramOf(scores.values(), 20),
          parts: { completeness, conciseness, consistency },
          worst,
        },
        suspects: { count: suspected, first: suspects },
        tokens: tokens.result() ?? noTokens,
        lossSample: losses.sample().map(({ value }) => value),
      };
    },
  };
}
