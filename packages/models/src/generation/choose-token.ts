import type { Random } from '@whetstone/core/random';
import { logSoftmax, softmax } from './logits-processor.js';

/** Returns the token with the highest score; the lowest id among equal scores. */
export function bestToken(scores: Float32Array): number {
  let best = 0;
  for (let id = 1; id < scores.length; id++) if ((scores[id] ?? -Infinity) > (scores[best] ?? -Infinity)) best = id;
  return best;
}

/** Samples a token with the probabilities softmax(scores). */
export function drawToken(scores: Float32Array, random: Random): number {
  const probabilities = softmax(scores);
  let rest = random.uniform();
  let last = 0;
  for (let id = 0; id < probabilities.length; id++) {
    const probability = probabilities[id] ?? 0;
    if (probability === 0) continue;
    last = id;
    rest -= probability;
    if (rest < 0) return id;
  }
  return last;
}

/** A token that the model could have chosen. */
export interface TokenAlternative {
  readonly id: number;
  readonly logProbability: number;
}

/** Returns the log-probability of a token, and the `count` likeliest tokens in descending order. */
export function alternativesOf(
  scores: Float32Array,
  id: number,
  count: number,
): { readonly logProbability: number; readonly top: readonly TokenAlternative[] } {
  const logProbabilities = logSoftmax(scores);
  const alternative = (one: number): TokenAlternative => ({
    id: one,
    logProbability: logProbabilities[one] ?? -Infinity,
  });
  return { logProbability: alternative(id).logProbability, top: highest(scores, count).map(alternative) };
}

/** Returns the indices of the `count` highest scores in descending order; lower indices first among equal scores. */
export function highest(scores: Float32Array, count: number): number[] {
  const found: number[] = [];
  for (let id = 0; id < scores.length; id++) {
    const score = scores[id] ?? -Infinity;
    if (found.length === count && !(score > (scores[found.at(-1) ?? 0] ?? -Infinity))) continue;
    let at = found.length;
    while (at > 0 && score > (scores[found[at - 1] ?? 0] ?? -Infinity)) at--;
    found.splice(at, 0, id);
    if (found.length > count) found.pop();
  }
  return found;
}
