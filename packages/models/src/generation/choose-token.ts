import type { Random } from '@whetstone/core/random';
import { softmax } from './logits-processor.js';

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
  let most = -Infinity;
  for (const score of scores) if (score > most) most = score;
  let sum = 0;
  for (const score of scores) sum += Math.exp(score - most);
  const total = most + Math.log(sum);
  const logProbability = (one: number): number => (scores[one] ?? -Infinity) - total;
  return {
    logProbability: logProbability(id),
    top: best(scores, count).map((one) => ({ id: one, logProbability: logProbability(one) })),
  };
}

/** Returns the ids of the `count` highest scores in descending order; lower ids first among equal scores. */
function best(scores: Float32Array, count: number): number[] {
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
