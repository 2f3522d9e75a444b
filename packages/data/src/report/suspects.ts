import type { Conversation, Origin } from '@whetstone/core/contract';
import { arrayAt, joinArrays, type JoinedArrays } from '../parallel/joined-arrays.js';
import { comparablePart, hashText } from '../transforms/duplicates/fingerprint.js';
import { HashMap } from '../transforms/duplicates/hash-map.js';
import { createOriginList } from '../transforms/duplicates/origin-list.js';
import { createSketchStore } from '../transforms/duplicates/sketch-store.js';
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

/** Questions and answers of some conversations, as they are compared. */
export interface PackedAnswers {
  /** A hash of what is asked; NaN where nothing is asked or answered. */
  readonly questions: Float64Array;
  /** Sketches of the answers. */
  readonly sketches: JoinedArrays;
}

/** Hashes of an answer's sketch: enough to see that two have nothing in common. */
const ANSWER_HASHES = 64;

export function packAnswers(conversations: readonly Conversation[]): PackedAnswers {
  const all = conversations.map((conversation) => {
    const [question, answer] = [comparablePart(conversation, 'prompt'), comparablePart(conversation, 'reply')];
    return question === '' || answer === ''
      ? null
      : { key: hashText(question), sketch: sketchOf(shingleHashes(answer)).subarray(0, ANSWER_HASHES) };
  });
  return {
    questions: Float64Array.from(all, (one) => one?.key ?? Number.NaN),
    sketches: joinArrays(all.map((one) => one?.sketch ?? new Uint32Array(0))),
  };
}

export interface ContradictionFinder {
  /** The earlier sample with the same question and quite another answer, or null. */
  add(answers: PackedAnswers, number: number, origin: Origin): Origin | null;
}

/**
 * Finds questions that are answered in quite different ways. Some 40 bytes a question are kept in memory, and a sketch
 * of its answer in memory or a temporary file.
 */
export function createContradictionFinder(): ContradictionFinder {
  const known = new HashMap();
  const origins = createOriginList();
  const stored = createSketchStore();
  return {
    add({ questions, sketches }, number, origin) {
      const key = questions[number] ?? Number.NaN;
      if (Number.isNaN(key)) return null;
      const sketch = arrayAt(sketches, number);
      const other = known.get(key);
      if (other !== -1) return sketchSimilarity(stored.read(other), sketch) < ALIKE ? origins.at(other) : null;
      known.add(key, origins.add(origin));
      stored.add(sketch);
      return null;
    },
  };
}

/** Losses far above the others: more than `deviations` median absolute deviations above the median. */
export function outlyingLosses(
  losses: readonly { readonly origin: Origin; readonly loss: number }[],
  deviations = 5,
): Suspect[] {
  const sorted = losses.map(({ loss }) => loss).sort((a, b) => a - b);
  const median = quantile(sorted, 0.5);
  const spread =
    quantile(
      sorted.map((loss) => Math.abs(loss - median)).sort((a, b) => a - b),
      0.5,
    ) * 1.4826;
  const limit = median + deviations * Math.max(spread, 0.05);
  return losses.flatMap(({ origin, loss }) =>
    loss > limit
      ? [{ origin, reason: 'outlying-loss', detail: `loss ${loss.toFixed(2)}, where ${median.toFixed(2)} is usual` }]
      : [],
  );
}
