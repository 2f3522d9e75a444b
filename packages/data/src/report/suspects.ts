import type { Conversation, Origin } from '@whetstone/core/contract';
import { arrayAt, joinArrays, type JoinedArrays } from '../parallel/joined-arrays.js';
import { comparablePart, hashText } from '../transforms/duplicates/fingerprint.js';
import { HashMap } from '../transforms/duplicates/hash-map.js';
import { createOriginList } from '../transforms/duplicates/origin-list.js';
import { createSketchStore } from '../transforms/duplicates/sketch-store.js';
import { shingleHashes, sketchOf, sketchSimilarity } from '../transforms/duplicates/min-hash.js';
import { medianOf } from './histogram.js';
import { previewOf } from './preview.js';

/**
 * Why a sample may have a wrong label: another answer to an earlier question, a loss far above the others, a wrong
 * order of roles, or an answer in another language than the question.
 */
export type SuspectReason = 'contradiction' | 'outlying-loss' | 'role-order' | 'language';

/** A sample that may have a wrong label. */
export interface Suspect {
  readonly origin: Origin;
  readonly reason: SuspectReason;
  readonly detail: string;
  /** The first and the last turns, clipped. */
  readonly preview: string;
}

/** Answers to the same question with a lower similarity are reported as a contradiction. */
const LEAST_SIMILARITY = 0.25;

/** Hashes of questions and sketches of answers, by conversation. */
export interface PackedAnswers {
  /** A hash of the question; NaN if the question or the answer is empty. */
  readonly questions: Float64Array;
  /** Sketches of the answers. */
  readonly sketches: JoinedArrays;
}

/** Hashes per answer sketch: enough to detect a low similarity. */
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
  /** Adds a sample. Returns an earlier sample with the same question and a different answer, or null. */
  add(answers: PackedAnswers, number: number, origin: Origin): Origin | null;
}

/**
 * Creates a finder of questions with different answers. Uses about 40 bytes per question, and a sketch of its answer in
 * memory or a temporary file.
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
      if (other !== -1)
        return sketchSimilarity(stored.read(other), sketch) < LEAST_SIMILARITY ? origins.at(other) : null;
      known.add(key, origins.add(origin));
      stored.add(sketch);
      return null;
    },
  };
}

/** Returns the samples whose loss is more than `deviations` median absolute deviations above the median. */
export function outlyingLosses(
  losses: readonly { readonly conversation: Conversation; readonly origin: Origin; readonly loss: number }[],
  deviations = 5,
): Suspect[] {
  const sorted = losses.map(({ loss }) => loss).sort((a, b) => a - b);
  const median = medianOf(sorted);
  const spread = medianOf(sorted.map((loss) => Math.abs(loss - median)).sort((a, b) => a - b)) * 1.4826;
  const limit = median + deviations * Math.max(spread, 0.05);
  return losses.flatMap(({ conversation, origin, loss }) => {
    if (loss <= limit) return [];
    const detail = `loss ${loss.toFixed(2)}; the median is ${median.toFixed(2)}`;
    return [{ origin, reason: 'outlying-loss', detail, preview: previewOf(conversation) }];
  });
}
