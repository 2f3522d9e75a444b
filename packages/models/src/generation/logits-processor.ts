/** The tokens of the row whose scores are processed. */
interface ProcessorContext {
  /** Prompt tokens, then generated tokens. */
  readonly ids: readonly number[];
  /** Number of prompt tokens. */
  readonly promptLength: number;
}

/**
 * Returns modified scores of all tokens, [vocab]; −Infinity excludes a token. Processors are pure functions and do not
 * modify their input. Names, formulas and their order follow Hugging Face's `generate`.
 */
export type LogitsProcessor = (scores: Float32Array, context: ProcessorContext) => Float32Array;

/** Combines processors into one that applies them in order. */
export const inOrder =
  (processors: readonly LogitsProcessor[]): LogitsProcessor =>
  (scores, context) =>
    processors.reduce((current, processor) => processor(current, context), scores);

/** Computes the logarithm of softmax(scores). */
export function logSoftmax(scores: Float32Array): Float32Array {
  let most = -Infinity;
  for (const score of scores) if (score > most) most = score;
  let sum = 0;
  for (const score of scores) sum += Math.exp(score - most);
  const total = most + Math.log(sum);
  return scores.map((score) => score - total);
}

/** Computes softmax(scores) in float64. */
export function softmax(scores: Float32Array): Float64Array {
  let most = -Infinity;
  for (const score of scores) if (score > most) most = score;
  const result = new Float64Array(scores.length);
  let total = 0;
  for (let i = 0; i < scores.length; i++) {
    const value = Math.exp((scores[i] ?? 0) - most);
    result[i] = value;
    total += value;
  }
  for (let i = 0; i < result.length; i++) result[i] = (result[i] ?? 0) / total;
  return result;
}

/** Returns a copy of the scores that excludes the tokens for which `removes` returns true. */
export function without(scores: Float32Array, removes: (id: number) => boolean): Float32Array {
  return scores.map((score, id) => (removes(id) ? -Infinity : score));
}
