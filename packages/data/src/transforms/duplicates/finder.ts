import type { Conversation, Origin } from '@whetstone/core/contract';
import { comparablePart, hashText, type DuplicatePart } from './fingerprint.js';
import { shingleHashes } from './min-hash.js';
import { createSimilarityIndex } from './similarity-index.js';

export interface DuplicateOptions {
  readonly part: DuplicatePart;
  /** Look for texts that are much alike, not only for equal ones. */
  readonly near: boolean;
  /** The least share of shingles that two texts have in common to be near duplicates. */
  readonly threshold: number;
  /** Characters of a shingle. */
  readonly shingle: number;
}

export const defaultDuplicateOptions: DuplicateOptions = { part: 'conversation', near: true, threshold: 0.7, shingle: 4 };

export interface Duplicate {
  readonly kind: 'exact' | 'near';
  readonly of: Origin;
  /** Jaccard similarity of the shingles (estimated for long texts); 1 for exact ones. */
  readonly similarity: number;
}

/** Remembers conversations, and says which earlier one a new one repeats. */
export interface DuplicateFinder {
  find(conversation: Conversation): Duplicate | null;
  add(conversation: Conversation): void;
}

export function createDuplicateFinder(options: DuplicateOptions): DuplicateFinder {
  const exact = new Map<number, Origin>();
  const index = createSimilarityIndex(options.threshold);
  const origins: Origin[] = [];
  // find() is mostly followed by add() of the same conversation: its fingerprint is made once.
  let latest: { conversation: Conversation; hash: number; shingles: Uint32Array | null } | null = null;

  function fingerprint(conversation: Conversation) {
    if (latest?.conversation === conversation) return latest;
    const text = comparablePart(conversation, options.part);
    latest = { conversation, hash: hashText(text), shingles: options.near ? shingleHashes(text, options.shingle) : null };
    return latest;
  }

  return {
    find(conversation) {
      const { hash, shingles } = fingerprint(conversation);
      const same = exact.get(hash);
      if (same) return { kind: 'exact', of: same, similarity: 1 };
      const near = shingles === null ? null : index.find(shingles);
      return near === null ? null : { kind: 'near', of: origins[near.entry] as Origin, similarity: near.similarity };
    },
    add(conversation) {
      const { hash, shingles } = fingerprint(conversation);
      if (!exact.has(hash)) exact.set(hash, conversation.origin);
      if (shingles === null) return;
      index.add(shingles);
      origins.push(conversation.origin);
    },
  };
}

export const placeOf = ({ file, line, index }: Origin): string => (file === undefined ? `conversation ${index + 1}` : `${file}:${line ?? index + 1}`);
