import type { Conversation, Origin } from '@whetstone/core/contract';
import { comparablePart, hashText } from './fingerprint.js';
import { HashMap } from './hash-map.js';
import { minHashSignature, shingleHashes, sketchOf } from './min-hash.js';
import type { DuplicateOptions } from './options.js';
import { createOriginList } from './origin-list.js';
import { createSimilarityIndex, type SetSummary } from './similarity-index.js';

/** The options that determine a fingerprint. */
export type FingerprintOptions = Pick<DuplicateOptions, 'part' | 'near' | 'shingle'>;

/** The data of a conversation that is needed to find duplicates of it. */
export interface Fingerprint {
  readonly hash: number;
  /** Null if only exact duplicates are searched for. */
  readonly set: SetSummary | null;
}

export interface Duplicate {
  readonly kind: 'exact' | 'near';
  readonly of: Origin;
  /** Jaccard similarity of the shingles (estimated for long texts); 1 for exact ones. */
  readonly similarity: number;
}

/** Stores fingerprints of conversations and finds duplicates of them. */
export interface DuplicateFinder {
  find(fingerprint: Fingerprint): Duplicate | null;
  add(fingerprint: Fingerprint, origin: Origin): void;
}

/** Computes the fingerprint of a conversation. This is the expensive step; it can run on any thread. */
export function fingerprintOf(conversation: Conversation, { part, near, shingle }: FingerprintOptions): Fingerprint {
  const text = comparablePart(conversation, part);
  if (!near) return { hash: hashText(text), set: null };
  const hashes = shingleHashes(text, shingle);
  return { hash: hashText(text), set: { signature: minHashSignature(hashes), sketch: sketchOf(hashes) } };
}

export function createDuplicateFinder({ threshold }: Pick<DuplicateOptions, 'threshold'>): DuplicateFinder {
  const exact = new HashMap();
  const index = createSimilarityIndex(threshold);
  const origins = createOriginList();
  return {
    find({ hash, set }) {
      const same = exact.get(hash);
      if (same !== -1) return { kind: 'exact', of: origins.at(same), similarity: 1 };
      const near = set === null ? null : index.find(set);
      return near === null ? null : { kind: 'near', of: origins.at(near.entry), similarity: near.similarity };
    },
    add({ hash, set }, origin) {
      exact.add(hash, origins.add(origin));
      if (set !== null) index.add(set);
    },
  };
}
