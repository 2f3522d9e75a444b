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
