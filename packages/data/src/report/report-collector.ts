import type { Conversation } from '@whetstone/core/contract';
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
import { createContradictionFinder, type Suspect, type SuspectReason } from './suspects.js';
import { topicsOf, TOPIC_SAMPLE } from './topics.js';

type Tokens = Omit<NonNullable<DataReport['tokens']>, 'maxLength'>;

/** The results of all blocks. */
interface CollectedReport {
  readonly report: Omit<
    DataReport,
    'title' | 'files' | 'suspects' | 'unreadable' | 'transforms' | 'tokens' | 'difficulty'
  >;
  readonly suspects: DataReport['suspects'];
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

const noFindings: SupervisionFindings = {
  turns: 0,
  withoutStop: { count: 0, first: [] },
  withoutReasoning: { count: 0, first: [] },
  prefixesChecked: 0,
  otherPrefix: { count: 0, first: [] },
};

/**
 * Collects the token measurements of blocks.
 *
 * @param expected whether the result of no blocks has counts of zero instead of being null
 */
function createTokenCounter(expected: boolean): {
  take(tokens: MeasuredTokens): void;
  readonly inspections: readonly Inspection[];
  result(): Tokens | null;
} {
  const lengths = new GrowingInts();
  const inspections: Inspection[] = [];
  const withoutTargets: Partial<Record<NothingToLearnCause, number>> = {};
  let supervision: SupervisionFindings | null = expected ? noFindings : null;
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

/** Counts findings and lists the first of them. */
function createFindings<T>(): {
  add(finding: T): void;
  readonly count: number;
  readonly first: readonly T[];
  readonly isFull: boolean;
} {
  const first: T[] = [];
  let count = 0;
  return {
    add(finding) {
      count++;
      if (first.length < LISTED) first.push(finding);
    },
    get count() {
      return count;
    },
    first,
    get isFull() {
      return first.length >= LISTED;
    },
  };
}

/** Finds conversations that repeat an earlier one, exactly or nearly. */
function createRepeatFinder(): {
  take(block: MeasuredBlock): void;
  readonly isFull: boolean;
  result(): DataReport['duplicates'];
} {
  const finder = createDuplicateFinder(defaultDuplicateOptions);
  const found = createFindings<DataReport['duplicates']['first'][number]>();
  const counts = { exact: 0, near: 0 };
  return {
    take({ conversations, origins, fingerprints, previews }) {
      for (let number = 0; number < conversations; number++) {
        const origin = originAt(origins, number);
        const fingerprint = fingerprintAt(fingerprints, number);
        const duplicate = finder.find(fingerprint);
        if (duplicate === null) {
          finder.add(fingerprint, origin);
          continue;
        }
        counts[duplicate.kind]++;
        const similarity =
          duplicate.kind === 'exact' ? 'the same as' : `${Math.round(duplicate.similarity * 100)} % similar to`;
        const detail = `${similarity} ${formatOrigin(duplicate.of)}`;
        found.add({ origin, detail, preview: previews?.[number] ?? '' });
      }
    },
    get isFull() {
      return found.isFull;
    },
    result: () => ({ ...counts, first: found.first }),
  };
}

/** Finds conversations whose labels may be wrong: other answers to an earlier question, and turns that do not fit. */
function createSuspectFinder(): {
  take(block: MeasuredBlock): void;
  readonly isFull: boolean;
  readonly suspects: DataReport['suspects'];
} {
  const contradictions = createContradictionFinder();
  const found = createFindings<Suspect>();
  const reasons: Partial<Record<SuspectReason, number>> = {};
  const add = (suspect: Suspect): void => {
    found.add(suspect);
    reasons[suspect.reason] = (reasons[suspect.reason] ?? 0) + 1;
  };
  return {
    take(block) {
      const mismatches = new Map(block.mismatches.map((mismatch) => [mismatch.number, mismatch]));
      for (let number = 0; number < block.conversations; number++) {
        const origin = originAt(block.origins, number);
        const preview = block.previews?.[number] ?? '';
        const contradicted = contradictions.add(block.answers, number, origin);
        if (contradicted) {
          const detail = `the same question has a different answer in ${formatOrigin(contradicted)}`;
          add({ origin, reason: 'contradiction', detail, preview });
        }
        const mismatch = mismatches.get(number);
        if (mismatch) add({ origin, reason: mismatch.reason, detail: mismatch.detail, preview });
      }
    },
    get isFull() {
      return found.isFull;
    },
    get suspects() {
      return { count: found.count, reasons, first: found.first };
    },
  };
}

/** Collects the scores of samples, the sums of their components, and the lowest ones. */
function createScoreList(): {
  take(block: MeasuredBlock): void;
  result(): Pick<DataReport, 'scores' | 'parts' | 'worst'>;
} {
  const scores = new GrowingInts();
  const sums: [number, number, number] = [0, 0, 0];
  let worst: ListedSample[] = [];
  return {
    take(block) {
      pushAll(scores, block.scores);
      for (let number = 0; number < block.conversations; number++)
        for (let component = 0; component < 3; component++)
          sums[component] = (sums[component] ?? 0) + (block.parts[number * 3 + component] ?? 0);
      const listed = block.worst.map(({ number, score, preview }) => ({
        origin: originAt(block.origins, number),
        score,
        preview,
      }));
      worst = [...worst, ...listed].sort((a, b) => a.score.total - b.score.total).slice(0, LISTED);
    },
    result() {
      const count = Math.max(1, scores.length);
      const [completeness, conciseness, consistency] = sums.map((sum) => sum / count) as [number, number, number];
      return { scores: histogramOf(scores.values(), 20), parts: { completeness, conciseness, consistency }, worst };
    },
  };
}

/** @param withTokens whether the report of empty data has tokens */
export function createReportCollector({ lossSample }: MeasureOptions, withTokens = false): ReportCollector {
  const [turns, characters] = [new GrowingInts(), new GrowingInts()];
  const [languages, topicColumns] = [new Map<string, number>(), new Map<string, number>()];
  const repeats = createRepeatFinder();
  const suspected = createSuspectFinder();
  const scores = createScoreList();
  const diversity = createDiversityCounter();
  const tokens = createTokenCounter(withTokens);
  const topics = createBottomSample<Conversation>(TOPIC_SAMPLE);
  const losses = createBottomSample<Conversation>(lossSample);
  let [conversations, messages] = [0, 0];
  return {
    take(block) {
      conversations += block.conversations;
      messages += block.messages;
      pushAll(turns, block.turns);
      pushAll(characters, block.characters);
      addCounts(languages, block.languages);
      addCounts(topicColumns, block.topicColumns);
      diversity.add(block.words, block.ngrams);
      repeats.take(block);
      suspected.take(block);
      scores.take(block);
      for (const { priority, value } of block.topicSample) topics.add(priority, value);
      for (const { priority, value } of block.lossSample) losses.add(priority, value);
      if (block.tokens) tokens.take(block.tokens);
    },
    hint: () => ({
      topicsBelow: topics.below,
      lossesBelow: losses.below,
      ngrams: diversity.needsMore,
      inspections: tokens.inspections.length < SHOWN_SAMPLES,
      previews: !suspected.isFull || !repeats.isFull,
    }),
    result() {
      const topicSample = topics.sample().map(({ value }) => value);
      return {
        report: {
          conversations,
          messages,
          turns: histogramOf(turns.values()),
          characters: histogramOf(characters.values()),
          languages: Object.fromEntries([...languages].sort(([, a], [, b]) => b - a)),
          topics: topicsOf(topicColumns, topicSample, conversations),
          diversity: diversity.result(),
          duplicates: repeats.result(),
          ...scores.result(),
        },
        suspects: suspected.suspects,
        tokens: tokens.result(),
        lossSample: losses.sample().map(({ value }) => value),
      };
    },
  };
}
