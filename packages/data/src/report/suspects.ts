import type { Conversation, Origin } from '@whetstone/core/contract';
import { comparablePart, hashText } from '../transforms/duplicates/fingerprint.js';
import { shingleHashes, sketchOf, sketchSimilarity } from '../transforms/duplicates/min-hash.js';
import { quantile } from './histogram.js';

/** A sample that may be labelled wrongly. */
export interface Suspect {
  readonly origin: Origin;
  readonly reason: 'contradiction' | 'outlying-loss' | 'inconsistent';
  readonly detail: string;
}

/** Replies to one question that have less than this in common contradict one another. */
const ALIKE = 0.25;

export interface ContradictionFinder {
  /** The earlier sample with the same question and quite another answer, or null. */
  add(conversation: Conversation): Origin | null;
}

/** Finds questions that are answered in quite different ways. Some 150 bytes a conversation are kept. */
export function createContradictionFinder(): ContradictionFinder {
  const answers = new Map<number, { readonly origin: Origin; readonly sketch: Uint32Array }>();
  return {
    add(conversation) {
      const question = comparablePart(conversation, 'prompt');
      const answer = comparablePart(conversation, 'reply');
      if (question === '' || answer === '') return null;
      const key = hashText(question);
      const sketch = sketchOf(shingleHashes(answer)).slice(0, 64);
      const known = answers.get(key);
      if (!known) answers.set(key, { origin: conversation.origin, sketch });
      return known && sketchSimilarity(known.sketch, sketch) < ALIKE ? known.origin : null;
    },
  };
}

/** Losses far above the others: more than `deviations` median absolute deviations above the median. */
export function outlyingLosses(losses: readonly { readonly origin: Origin; readonly loss: number }[], deviations = 5): Suspect[] {
  const sorted = losses.map(({ loss }) => loss).sort((a, b) => a - b);
  const median = quantile(sorted, 0.5);
  const spread = quantile(sorted.map((loss) => Math.abs(loss - median)).sort((a, b) => a - b), 0.5) * 1.4826;
  const limit = median + deviations * Math.max(spread, 0.05);
  return losses.flatMap(({ origin, loss }) => (loss > limit ? [{ origin, reason: 'outlying-loss', detail: `loss ${loss.toFixed(2)}, where ${median.toFixed(2)} is usual` }] : []));
}
