import type { Conversation, Origin } from '@whetstone/core/contract';
import { stringifyExact } from '@whetstone/core/util';
import { comparableMessages, hashText, textOfPart } from './fingerprint.js';
import { HashMap } from './hash-map.js';
import { comparableUnits, type ComparableUnit, type LeakUnit } from './leak-units.js';
import { minHashSignature, shingleHashes, sketchOf } from './min-hash.js';
import type { DuplicateOptions } from './options.js';
import { createOriginList } from './origin-list.js';
import { createSimilarityIndex, type SetSummary } from './similarity-index.js';

/** The options that determine a fingerprint. */
export interface FingerprintOptions extends Pick<DuplicateOptions, 'part' | 'near' | 'shingle'> {
  /** Whether exchanges and long replies have fingerprints, too, for a comparison with evaluation data. */
  readonly units?: boolean;
}

/** The data of a text that is needed to find duplicates of it. */
export interface SingleFingerprint {
  readonly hash: number;
  /** Null if only exact duplicates are searched for. */
  readonly set: SetSummary | null;
}

/** The data of an exchange or a long reply. */
export interface UnitFingerprint extends SingleFingerprint {
  readonly kind: LeakUnit;
}

/** The data of a conversation that is needed to find duplicates of it and of its units. */
export interface Fingerprint extends SingleFingerprint {
  readonly units?: readonly UnitFingerprint[];
}

export interface Duplicate {
  readonly kind: 'exact' | 'near';
  readonly of: Origin;
  /** Jaccard similarity of the shingles (estimated for long texts); 1 for exact ones. */
  readonly similarity: number;
  /** The number of the fingerprint that is repeated, in the order in which they were added, from 0. */
  readonly entry: number;
}

/** Stores fingerprints and finds duplicates of them. */
interface DuplicateFinder {
  find(fingerprint: SingleFingerprint): Duplicate | null;
  add(fingerprint: SingleFingerprint, origin: Origin): void;
  /** Returns whether an equal text was added. */
  knows(fingerprint: SingleFingerprint): boolean;
}

/** The texts of a conversation that are compared. */
interface ComparableTexts {
  readonly whole: string;
  readonly units: readonly ComparableUnit[];
}

/** Returns the compared part of a conversation and, for `withUnits`, its exchanges and long replies. */
export function comparableTexts(
  conversation: Conversation,
  part: DuplicateOptions['part'],
  withUnits: boolean,
): ComparableTexts {
  const messages = comparableMessages(conversation);
  const compared = textOfPart(messages, part);
  // Conversations without text, such as tool calls only, are distinguished by everything else in them.
  const whole = compared.trim() === '' ? stringifyExact(conversation.messages) : compared;
  return { whole, units: withUnits ? comparableUnits(messages, whole) : [] };
}

/**
 * Returns the fingerprint of a text. What only a search for near duplicates needs is computed at its first use.
 *
 * @param shingle characters per shingle; null to find exact duplicates only
 */
function fingerprintOfText<More extends object>(
  text: string,
  shingle: number | null,
  more: More,
): SingleFingerprint & More {
  let set: SetSummary | null = null;
  return {
    hash: hashText(text),
    get set() {
      if (shingle !== null) set ??= summaryOf(shingleHashes(text, shingle));
      return set;
    },
    ...more,
  };
}

/** Returns the summary of a set. The signature, which takes longest, is computed at its first use. */
function summaryOf(hashes: Uint32Array): SetSummary {
  let signature: Uint32Array | null = null;
  return {
    sketch: sketchOf(hashes),
    get signature() {
      return (signature ??= minHashSignature(hashes));
    },
  };
}

export function fingerprintOfTexts(
  { whole, units }: ComparableTexts,
  { near, shingle }: Pick<FingerprintOptions, 'near' | 'shingle'>,
): Fingerprint {
  const size = near ? shingle : null;
  if (units.length === 0) return fingerprintOfText(whole, size, {});
  return fingerprintOfText(whole, size, {
    units: units.map(({ kind, text }) => fingerprintOfText(text, size, { kind })),
  });
}

/** Computes the fingerprint of a conversation. This is the expensive step; it can run on any thread. */
export const fingerprintOf = (conversation: Conversation, options: FingerprintOptions): Fingerprint =>
  fingerprintOfTexts(comparableTexts(conversation, options.part, options.units === true), options);

/** @param isFiltered whether most searches are for texts that are not added and have no duplicate */
export function createDuplicateFinder(
  { threshold }: Pick<DuplicateOptions, 'threshold'>,
  isFiltered = false,
): DuplicateFinder {
  const exact = new HashMap();
  const index = createSimilarityIndex(threshold, isFiltered);
  const origins = createOriginList();
  return {
    find(fingerprint) {
      const same = exact.get(fingerprint.hash);
      if (same !== -1) return { kind: 'exact', of: origins.at(same), similarity: 1, entry: same };
      const { set } = fingerprint;
      const near = set === null ? null : index.find(set);
      return near && { kind: 'near', of: origins.at(near.entry), ...near };
    },
    add({ hash, set }, origin) {
      exact.add(hash, origins.add(origin));
      if (set !== null) index.add(set);
    },
    knows: ({ hash }) => exact.get(hash) !== -1,
  };
}
