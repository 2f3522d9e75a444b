import { softmax, without, type LogitsProcessor } from './logits-processor.js';

/** Divides scores by `value`: below 1 the distribution becomes sharper, above 1 flatter. */
export const temperature =
  (value: number): LogitsProcessor =>
  (scores) =>
    scores.map((score) => score / value);

/** Keeps the `count` best tokens and all tokens with the same score as the last of them. */
export const topK =
  (count: number): LogitsProcessor =>
  (scores) => {
    if (count >= scores.length) return scores.slice();
    const limit = scores.slice().sort()[scores.length - Math.max(1, count)] ?? -Infinity;
    return without(scores, (id) => (scores[id] ?? 0) < limit);
  };

/**
 * Keeps the smallest set of best tokens whose probabilities sum to at least `mass` (nucleus sampling, Holtzman et al.
 * 2020).
 */
export const topP =
  (mass: number, minTokensToKeep = 1): LogitsProcessor =>
  (scores) => {
    const probabilities = softmax(scores);
    const ascending = probabilities.slice().sort();
    let removed = 0;
    let sum = 0;
    while (removed < ascending.length - minTokensToKeep) {
      sum += ascending[removed] ?? 0;
      if (sum > 1 - mass) break;
      removed++;
    }
    // Among tokens with the lowest kept probability, lower ids are kept.
    const limit = ascending[removed] ?? 0;
    let kept = ascending.length - removed;
    for (const probability of probabilities) if (probability > limit) kept--;
    return without(scores, (id) => {
      const probability = probabilities[id] ?? 0;
      if (probability !== limit) return probability < limit;
      kept--;
      return kept < 0;
    });
  };

/** Keeps tokens that are at least `share` times as likely as the likeliest token (Nguyen et al. 2024). */
export const minP =
  (share: number): LogitsProcessor =>
  (scores) => {
    const probabilities = softmax(scores);
    const limit = share * largest(probabilities);
    return without(scores, (id) => (probabilities[id] ?? 0) < limit);
  };

/** Keeps tokens whose information content is closest to the entropy, up to `mass` in total (Meister et al. 2023). */
export const typicalP =
  (mass: number): LogitsProcessor =>
  (scores) => {
    const probabilities = softmax(scores);
    const entropy = entropyOf(probabilities);
    const distance = probabilities.map((probability) => Math.abs(-Math.log(probability) - entropy));
    const order = [...distance.keys()].sort((a, b) => (distance[a] ?? 0) - (distance[b] ?? 0));
    let sum = 0;
    let limit = distance[order.at(-1) ?? 0] ?? Infinity;
    for (const id of order) {
      sum += probabilities[id] ?? 0;
      if (sum < mass) continue;
      limit = distance[id] ?? Infinity;
      break;
    }
    const first = order[0];
    return without(scores, (id) => id !== first && (distance[id] ?? 0) > limit);
  };

/**
 * Keeps tokens with a probability of at least `epsilon`, and the likeliest token (Hewitt et al. 2022).
 *
 * @public
 */
export const epsilonCutoff =
  (epsilon: number): LogitsProcessor =>
  (scores) =>
    cutBelow(scores, () => epsilon);

/**
 * Like {@link epsilonCutoff}, with a limit that decreases as the entropy rises (Hewitt et al. 2022).
 *
 * @public
 */
export const etaCutoff =
  (epsilon: number): LogitsProcessor =>
  (scores) =>
    cutBelow(scores, (probabilities) => Math.min(epsilon, Math.sqrt(epsilon) * Math.exp(-entropyOf(probabilities))));

function cutBelow(scores: Float32Array, limitOf: (probabilities: Float64Array) => number): Float32Array {
  const probabilities = softmax(scores);
  const limit = limitOf(probabilities);
  const best = largest(probabilities);
  return without(scores, (id) => (probabilities[id] ?? 0) < limit && (probabilities[id] ?? 0) < best);
}

const largest = (values: Float64Array): number => values.reduce((most, value) => Math.max(most, value), 0);
const entropyOf = (probabilities: Float64Array): number =>
  probabilities.reduce((sum, probability) => (probability > 0 ? sum - probability * Math.log(probability) : sum), 0);
