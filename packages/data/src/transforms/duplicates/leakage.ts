import { WhetstoneError } from '@whetstone/core/contract';
import type { DataSource, Origin } from '@whetstone/core/contract';
import { formatOrigin, placeOf } from '../../sources/origins.js';
import { checkUnreadable } from '../../sources/unreadable.js';
import {
  createDuplicateFinder,
  fingerprintOf,
  type DuplicateFinder,
  type Fingerprint,
  type FingerprintOptions,
} from './finder.js';
import { defaultDuplicateOptions, type DuplicateOptions } from './options.js';

/** A conversation of the training data that repeats one of the evaluation data, exactly or nearly. */
interface Leak {
  readonly train: Origin;
  readonly eval: Origin;
  readonly similarity: number;
}

/**
 * Creates a finder with all conversations of a source.
 *
 * @param unreadableChecked whether the caller has already applied the policy for unreadable rows
 * @throws `DATA_UNREADABLE` if there are unreadable rows and `unreadableChecked` is false
 */
export async function finderOf(
  source: DataSource,
  options: DuplicateOptions,
  unreadableChecked = false,
): Promise<DuplicateFinder> {
  const finder = createDuplicateFinder(options);
  for await (const conversation of source.conversations())
    finder.add(fingerprintOf(conversation, options), conversation.origin);
  // An unreadable row could not be found in the training data.
  if (!unreadableChecked) checkUnreadable(source.unreadable);
  return finder;
}

/** Finds the conversations of the training data that repeat evaluation data, exactly or nearly. */
export async function findLeaks(
  train: DataSource,
  evaluation: DataSource,
  options: Partial<DuplicateOptions> = {},
): Promise<LeakFindings> {
  const all = { ...defaultDuplicateOptions, ...options };
  const watch = createLeakWatch(await finderOf(evaluation, all));
  for await (const conversation of train.conversations())
    watch.look(fingerprintOf(conversation, all), conversation.origin);
  return watch.findings;
}

const percent = (share: number): string => `${Math.round(share * 100)} %`;

/** Creates the error for leaks, with their number and the first places. */
export function leakageError({ count, first }: LeakFindings): WhetstoneError {
  return new WhetstoneError(
    'DATA_LEAKAGE',
    `${count} ` +
      `${count === 1 ? 'conversation of the training data repeats' : 'conversations of the training data repeat'} ` +
      'evaluation data.',
    {
      hint:
        'The evaluation would measure memorization. To remove these conversations, add {"use": "deduplicate", ' +
        '"options": {"against": ["<evaluation file>"], "onLeak": "drop"}} to data.transforms. To allow them, set ' +
        'data.leakage to "warn" or "off", or to {"threshold": 1} to report exact duplicates only.',
      problems: first.slice(0, 10).map(({ train, eval: other, similarity }) => ({
        message: `${similarity === 1 ? 'the same as' : `${percent(similarity)} similar to`} ${formatOrigin(other)}`,
        place: placeOf(train),
      })),
      details: {
        leaks: count,
        pairs: first.map(({ train, eval: other, similarity }) => ({
          train: formatOrigin(train),
          eval: formatOrigin(other),
          similarity,
        })),
      },
    },
  );
}

/** Evaluation data to search for in training data. */
export interface HeldOut {
  /** Identifies the evaluation data and the threshold, for the cache key of training data. */
  readonly key: string;
  readonly fingerprints: FingerprintOptions;
  /**
   * Reads the evaluation data. Uses about 1.5 kB per conversation, of which 1 kB is in a temporary file beyond 64 MB.
   */
  open(): Promise<DuplicateFinder>;
}

/**
 * Returns the options for the comparison of evaluation and training data, by complete conversations. With threshold 1
 * only exact duplicates are found, which may differ in case, width, spaces and punctuation.
 */
export function leakageOptions(threshold: number): DuplicateOptions {
  return { ...defaultDuplicateOptions, threshold, near: threshold < 1 };
}

/** The number of leaks, and the first of them. */
export interface LeakFindings {
  readonly count: number;
  readonly first: readonly Leak[];
}

/** Leaks whose origins are kept. */
const KEPT_LEAKS = 1000;

/** Searches conversations of training data for evaluation data. */
export interface LeakWatch {
  look(fingerprint: Fingerprint, origin: Origin): void;
  readonly findings: LeakFindings;
}

export function createLeakWatch(held: DuplicateFinder): LeakWatch {
  const first: Leak[] = [];
  let count = 0;
  return {
    look(fingerprint, origin) {
      const found = held.find(fingerprint);
      if (found === null) return;
      count++;
      if (first.length < KEPT_LEAKS) first.push({ train: origin, eval: found.of, similarity: found.similarity });
    },
    get findings(): LeakFindings {
      return { count, first };
    },
  };
}
