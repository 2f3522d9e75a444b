import type { Conversation, Origin } from '@whetstone/core/contract';
import { stringifyExact } from '@whetstone/core/util';
import { comparablePart, hashText } from './fingerprint.js';
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
  const compared = comparablePart(conversation, part);
  // Conversations without text, such as tool calls only, are distinguished by everything else in them.
  const whole = compared.trim() === '' ? stringifyExact(conversation.messages) : compared;
  return { whole, units: withUnits ? comparableUnits(conversation, whole) : [] };
}

function fingerprintOfText(
  text: string,
  { near, shingle }: Pick<FingerprintOptions, 'near' | 'shingle'>,
): SingleFingerprint {
  if (!near) return { hash: hashText(text), set: null };
  const hashes = shingleHashes(text, shingle);
  return { hash: hashText(text), set: { signature: minHashSignature(hashes), sketch: sketchOf(hashes) } };
}

export function fingerprintOfTexts(
  { whole, units }: ComparableTexts,
  options: Pick<FingerprintOptions, 'near' | 'shingle'>,
): Fingerprint {
  const fingerprint = fingerprintOfText(whole, options);
  if (units.length === 0) return fingerprint;
  return { ...fingerprint, units: units.map(({ kind, text }) => ({ kind, ...fingerprintOfText(text, options) })) };
}

/** Computes the fingerprint of a conversation. This is the expensive step; it can run on any thread. */
export const fingerprintOf = (conversation: Conversation, options: FingerprintOptions): Fingerprint =>
  fingerprintOfTexts(comparableTexts(conversation, options.part, options.units === true), options);

export function createDuplicateFinder({ threshold }: Pick<DuplicateOptions, 'threshold'>): DuplicateFinder {
  const exact = new HashMap();
  const index = createSimilarityIndex(threshold);
  const origins = createOriginList();
  return {
    find({ hash, set }) {
      const same = exact.get(hash);
      if (same !== -1) return { kind: 'exact', of: origins.at(same), similarity: 1, entry: same };
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
