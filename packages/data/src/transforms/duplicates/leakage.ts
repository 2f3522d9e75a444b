import { WhetstoneError } from '@whetstone/core/contract';
import type { DataSource, Origin } from '@whetstone/core/contract';
import { checkUnreadable } from '../../sources/unreadable.js';
import {
  createDuplicateFinder,
  defaultDuplicateOptions,
  fingerprintOf,
  placeOf,
  type DuplicateFinder,
  type DuplicateOptions,
  type Fingerprint,
  type FingerprintOptions,
} from './finder.js';

/** A conversation of the training data that is also, or almost, in the evaluation data. */
interface Leak {
  readonly train: Origin;
  readonly eval: Origin;
  readonly similarity: number;
}

/** Remembers a whole source. @throws DATA_UNREADABLE where the caller has not judged that before */
export async function finderOf(
  source: DataSource,
  options: DuplicateOptions,
  judged = false,
): Promise<DuplicateFinder> {
  const finder = createDuplicateFinder(options);
  for await (const conversation of source.conversations())
    finder.add(fingerprintOf(conversation, options), conversation.origin);
  // What cannot be read cannot be kept out of the training data.
  if (!judged) checkUnreadable(source.unreadable);
  return finder;
}

/** The conversations of the training data that repeat one of the evaluation data, or almost. */
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

/** The error for leaks: how many, and where the first are. */
export function leakageError({ count, first }: LeakFindings): WhetstoneError {
  return new WhetstoneError(
    'DATA_LEAKAGE',
    `${count} ` +
      `${count === 1 ? 'conversation of the training data is' : 'conversations of the training data are'} also ` +
      'in the evaluation data, or almost.',
    {
      hint:
        'The evaluation would measure memory. Take them out: put {"use": "deduplicate", "options": {"against": ' +
        '["<evaluation file>"], "onLeak": "drop"}} into data.transforms. Where they may stay, set data.leakage ' +
        'to "warn" or "off", or to {"threshold": 1} for equal ones alone.',
      problems: first.slice(0, 10).map(({ train, eval: other, similarity }) => ({
        message: `${similarity === 1 ? 'the same as' : `${Math.round(similarity * 100)} % like`} ${placeOf(other)}`,
        ...(train.file === undefined
          ? {}
          : { place: { file: train.file, ...(train.line === undefined ? {} : { line: train.line }) } }),
      })),
      details: {
        leaks: count,
        pairs: first.map(({ train, eval: other, similarity }) => ({
          train: placeOf(train),
          eval: placeOf(other),
          similarity,
        })),
      },
    },
  );
}

/** Evaluation data that training data is looked through for. */
export interface HeldOut {
  /** The same where the evaluation data and the threshold are: part of what cached training data is kept under. */
  readonly key: string;
  readonly fingerprints: FingerprintOptions;
  /** All of it, remembered; some 1.5 kB a conversation, of which 1 kB goes to a temporary file beyond 64 MB. */
  open(): Promise<DuplicateFinder>;
}

/**
 * How evaluation data and training data are compared: whole conversations; a threshold of 1 finds equal ones alone
 * (case, width, spaces and punctuation aside).
 */
export function leakageOptions(threshold: number): DuplicateOptions {
  return { ...defaultDuplicateOptions, threshold, near: threshold < 1 };
}

/** Leaks that were found: how many, and the first of them. */
export interface LeakFindings {
  readonly count: number;
  readonly first: readonly Leak[];
}

/** Leaks that are kept with their places. */
const KEPT_LEAKS = 1000;

/** Looks at training data, conversation by conversation, for what is in the evaluation data. */
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
