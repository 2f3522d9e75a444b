import { WhetstoneError } from '@whetstone/core/contract';
import type { Conversation, DataSource, Origin } from '@whetstone/core/contract';
import { checkUnreadable } from '../../sources/unreadable.js';
import { createDuplicateFinder, defaultDuplicateOptions, fingerprintOf, placeOf, type DuplicateFinder, type DuplicateOptions } from './finder.js';
import { comparablePart, hashText } from './fingerprint.js';
import { createOriginList } from './origin-list.js';

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
    hint: 'The evaluation would measure memory. Take them out: put {"use": "deduplicate", "options": {"against": ["<evaluation file>"], "onLeak": "drop"}} into data.transforms; or set data.leakage to "warn".',
    problems: leaks.slice(0, 10).map(({ train, eval: other, similarity }) => ({
      message: `${similarity === 1 ? 'is' : `is ${Math.round(similarity * 100)} %`} ${placeOf(other)}`,
      ...(train.file === undefined ? {} : { place: { file: train.file, ...(train.line === undefined ? {} : { line: train.line }) } }),
    })),
    details: { leaks: leaks.length },
  });
}

/** Hashes of the conversations of a data set and where each stood: some 24 bytes a conversation. */
export interface ContentIndex {
  /** @param hash that of {@link contentIndexHash} */
  add(hash: number, origin: Origin): void;
  entries(): Iterable<{ readonly hash: number; readonly origin: Origin }>;
  /** Forgets all. */
  clear(): void;
  /** All of it as plain data, for a file; and back. */
  pack(): PackedIndex;
  unpack(packed: PackedIndex): void;
}

interface PackedIndex {
  readonly hashes: readonly number[];
  readonly files: readonly (string | null)[];
  /** File, line and index of each. */
  readonly origins: readonly number[];
}

/** The same for conversations that differ in case, spaces and punctuation alone. */
export const contentIndexHash = (conversation: Conversation): number => hashText(comparablePart(conversation, 'conversation'));

export function createContentIndex(): ContentIndex {
  let hashes: number[] = [];
  let origins = createOriginList();
  return {
    clear() {
      hashes = [];
      origins = createOriginList();
    },
    pack() {
      const files: (string | null)[] = [];
      const packed = hashes.flatMap((_, number) => {
        const { file = null, line = 0, index } = origins.at(number);
        if (files.length === 0 || files.at(-1) !== file) files.push(file);
        return [files.length - 1, line, index];
      });
      return { hashes, files, origins: packed };
    },
    unpack(packed) {
      for (const [number, hash] of packed.hashes.entries()) {
        const [place = 0, line = 0, index = 0] = packed.origins.slice(number * 3, number * 3 + 3);
        const file = packed.files[place] ?? null;
        this.add(hash, { index, ...(file === null ? {} : { file }), ...(line === 0 ? {} : { line }) });
      }
    },
    add(hash, origin) {
      hashes.push(hash);
      origins.add(origin);
    },
    *entries() {
      for (const [index, hash] of hashes.entries()) yield { hash, origin: origins.at(index) };
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
