import { WhetstoneError } from '@whetstone/core/contract';
import type { Conversation, DataSource, Origin } from '@whetstone/core/contract';
import { GrowingInts } from '../../batching/growing-ints.js';
import { checkUnreadable } from '../../sources/unreadable.js';
import { createDuplicateFinder, defaultDuplicateOptions, fingerprintOf, placeOf, type DuplicateFinder, type DuplicateOptions } from './finder.js';
import { comparablePart, hashText } from './fingerprint.js';

/** A conversation of the training data that is also, or almost, in the evaluation data. */
export interface Leak {
  readonly train: Origin;
  readonly eval: Origin;
  readonly similarity: number;
}

/** Remembers a whole source. @throws DATA_UNREADABLE */
export async function finderOf(source: DataSource, options: DuplicateOptions): Promise<DuplicateFinder> {
  const finder = createDuplicateFinder(options);
  for await (const conversation of source.conversations()) finder.add(fingerprintOf(conversation, options), conversation.origin);
  // What cannot be read cannot be kept out of the training data.
  checkUnreadable(source.unreadable);
  return finder;
}

/** Every conversation of the training data that repeats one of the evaluation data. */
export async function findLeaks(train: DataSource, evaluation: DataSource, options: Partial<DuplicateOptions> = {}): Promise<Leak[]> {
  const all = { ...defaultDuplicateOptions, ...options };
  const finder = await finderOf(evaluation, all);
  const leaks: Leak[] = [];
  for await (const conversation of train.conversations()) {
    const found = finder.find(fingerprintOf(conversation, all));
    if (found) leaks.push({ train: conversation.origin, eval: found.of, similarity: found.similarity });
  }
  return leaks;
}

/** The error for leaks: how many, and where the first are. */
export function leakageError(leaks: readonly Leak[]): WhetstoneError {
  return new WhetstoneError('DATA_LEAKAGE', `${leaks.length} conversations of the training data are also in the evaluation data.`, {
    hint: 'The evaluation would measure memory. Take them out with the transform "deduplicate" and its options "against" and "onLeak": "drop".',
    problems: leaks.slice(0, 10).map(({ train, eval: other, similarity }) => ({
      message: `${similarity === 1 ? 'is' : `is ${Math.round(similarity * 100)} %`} ${placeOf(other)}`,
      ...(train.file === undefined ? {} : { place: { file: train.file, ...(train.line === undefined ? {} : { line: train.line }) } }),
    })),
    details: { leaks: leaks.length },
  });
}

/** Hashes of the conversations of a data set and where each stood: some 16 bytes a conversation. */
export interface ContentIndex {
  add(conversation: Conversation): void;
  entries(): Iterable<{ readonly hash: number; readonly origin: Origin }>;
}

export function createContentIndex(): ContentIndex {
  const files: string[] = [];
  const hashes: number[] = [];
  const fileOf = new GrowingInts();
  const lineOf = new GrowingInts();
  return {
    add(conversation) {
      const { file = '', line = 0 } = conversation.origin;
      if (files.at(-1) !== file) files.push(file);
      hashes.push(hashText(comparablePart(conversation, 'conversation')));
      fileOf.push(files.length - 1);
      lineOf.push(line);
    },
    *entries() {
      for (const [index, hash] of hashes.entries()) {
        const file = files[fileOf.at(index)] ?? '';
        yield { hash, origin: { index, ...(file === '' ? {} : { file, line: lineOf.at(index) }) } };
      }
    },
  };
}

/** Conversations that are in both, but for case, spaces and punctuation. */
export function repeatedIn(train: ContentIndex, evaluation: ContentIndex): Leak[] {
  const held = new Map<number, Origin>();
  for (const { hash, origin } of evaluation.entries()) held.set(hash, origin);
  const leaks: Leak[] = [];
  for (const { hash, origin } of train.entries()) {
    const other = held.get(hash);
    if (other) leaks.push({ train: origin, eval: other, similarity: 1 });
  }
  return leaks;
}
