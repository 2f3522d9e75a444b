import { WhetstoneError } from '@whetstone/core/contract';
import type { Conversation, DataSource, Origin } from '@whetstone/core/contract';
import { clippedText } from '../../report/preview.js';
import { formatOrigin, placeOf } from '../../sources/origins.js';
import { checkUnreadable } from '../../sources/unreadable.js';
import {
  comparableTexts,
  createDuplicateFinder,
  fingerprintOf,
  fingerprintOfTexts,
  type Fingerprint,
  type FingerprintOptions,
  type SingleFingerprint,
} from './finder.js';
import type { LeakUnit } from './leak-units.js';
import { defaultDuplicateOptions, type DuplicateOptions } from './options.js';

/** What of a conversation is in the evaluation data, and where. */
interface HeldOutMatch {
  /** The part of the training conversation. */
  readonly part: 'conversation' | LeakUnit;
  readonly of: Origin;
  /** 1 if the texts are the same, except for case, width, spaces and punctuation. */
  readonly similarity: number;
  /** The beginning of the text in the evaluation data, normalized for comparison. */
  readonly text: string;
}

/** Finds conversations, exchanges and long replies of evaluation data in other data. */
export interface HeldOutFinder {
  /** Returns the first part of a conversation that is in the evaluation data: the whole, an exchange, or a reply. */
  find(fingerprint: Fingerprint): HeldOutMatch | null;
}

/** Characters of evaluation data that are kept for messages. */
const KEPT_TEXT = 100;

/**
 * Reads all conversations of evaluation data. Uses about 1.5 kB for each conversation, exchange and long reply, of
 * which 1 kB is in a temporary file beyond 64 MB. Equal texts are stored once.
 *
 * @param unreadableChecked whether the caller has already applied the policy for unreadable rows
 * @throws `DATA_UNREADABLE` if there are unreadable rows and `unreadableChecked` is false
 */
export async function finderOf(
  source: DataSource,
  options: DuplicateOptions,
  unreadableChecked = false,
): Promise<HeldOutFinder> {
  const finder = createDuplicateFinder(options, true);
  const texts: string[] = [];
  const add = (fingerprint: SingleFingerprint, text: string, origin: Origin): void => {
    if (finder.knows(fingerprint)) return;
    finder.add(fingerprint, origin);
    texts.push(clippedText(text, KEPT_TEXT));
  };
  const addConversation = (conversation: Conversation): void => {
    const compared = comparableTexts(conversation, options.part, true);
    const fingerprint = fingerprintOfTexts(compared, options);
    add(fingerprint, compared.whole, conversation.origin);
    for (const [index, unit] of (fingerprint.units ?? []).entries())
      add(unit, compared.units[index]?.text ?? '', conversation.origin);
  };
  for await (const conversation of source.conversations()) addConversation(conversation);
  // An unreadable row could not be found in the training data.
  if (!unreadableChecked) checkUnreadable(source.unreadable);
  const matchOf = (part: HeldOutMatch['part'], fingerprint: SingleFingerprint): HeldOutMatch | null => {
    const found = finder.find(fingerprint);
    return found && { part, of: found.of, similarity: found.similarity, text: texts[found.entry] ?? '' };
  };
  return {
    find(fingerprint) {
      const whole = matchOf('conversation', fingerprint);
      if (whole !== null) return whole;
      for (const unit of fingerprint.units ?? []) {
        const match = matchOf(unit.kind, unit);
        if (match !== null) return match;
      }
      return null;
    },
  };
}

const subjects = { conversation: '', exchange: 'an exchange is ', reply: 'a long reply is ' } as const;
const objects = { conversation: '', exchange: 'one in ', reply: 'one in ' } as const;

/** Describes a match: `an exchange is 83 % similar to one in eval.jsonl:3: "how do i …"`. */
export function describeMatch({ part, of, similarity, text }: HeldOutMatch): string {
  const relation = similarity === 1 ? 'the same as' : `${Math.round(similarity * 100)} % similar to`;
  const shown = part === 'conversation' ? '' : `: "${text}"`;
  return `${subjects[part]}${relation} ${objects[part]}${formatOrigin(of)}${shown}`;
}

/** A conversation of the training data that repeats evaluation data, as a whole or in a part, exactly or nearly. */
interface Leak extends Omit<HeldOutMatch, 'of'> {
  readonly train: Origin;
  readonly eval: Origin;
}

const leakOf = (train: Origin, { of, ...match }: HeldOutMatch): Leak => ({ train, eval: of, ...match });

/** Returns the findings of a search that ends at the first leak. */
export const onlyLeak = (train: Origin, match: HeldOutMatch): LeakFindings => ({
  count: 1,
  first: [leakOf(train, match)],
});

/** Finds the conversations of the training data that repeat evaluation data, exactly or nearly. */
export async function findLeaks(
  train: DataSource,
  evaluation: DataSource,
  options: Partial<DuplicateOptions> = {},
): Promise<LeakFindings> {
  const all = { ...defaultDuplicateOptions, ...options };
  const watch = createLeakWatch(await finderOf(evaluation, all));
  for await (const conversation of train.conversations())
    watch.look(fingerprintOf(conversation, { ...all, units: true }), conversation.origin);
  return watch.findings;
}

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
      problems: first.slice(0, 10).map(({ train, eval: of, ...match }) => ({
        message: describeMatch({ of, ...match }),
        place: placeOf(train),
      })),
      details: {
        leaks: count,
        pairs: first.map(({ train, eval: other, similarity, part, text }) => ({
          train: formatOrigin(train),
          eval: formatOrigin(other),
          similarity,
          part,
          text,
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
  /** Reads the evaluation data; see {@link finderOf}. */
  open(): Promise<HeldOutFinder>;
}

/**
 * Returns the options for the comparison of evaluation and training data, by conversations, exchanges and long replies.
 * With threshold 1 only exact duplicates are found, which may differ in case, width, spaces and punctuation.
 */
export function leakageOptions(threshold: number): DuplicateOptions & FingerprintOptions {
  return { ...defaultDuplicateOptions, threshold, near: threshold < 1, units: true };
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

export function createLeakWatch(held: HeldOutFinder): LeakWatch {
  const first: Leak[] = [];
  let count = 0;
  return {
    look(fingerprint, origin) {
      const found = held.find(fingerprint);
      if (found === null) return;
      count++;
      if (first.length < KEPT_LEAKS) first.push(leakOf(origin, found));
    },
    get findings(): LeakFindings {
      return { count, first };
    },
  };
}
