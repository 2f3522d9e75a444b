/** What a processor may know besides the scores. */
export interface ProcessorContext {
  /** Prompt and generated tokens so far. */
  readonly ids: readonly number[];
  /** How many of them are the prompt. */
  readonly promptLength: number;
}

/**
 * Turns the scores of all tokens [vocabulary] into others; −Infinity takes a token out. Pure: the given scores stay as
 * they are. Names, formulas and their order follow Hugging Face's `generate`.
 */
export type LogitsProcessor = (scores: Float32Array, context: ProcessorContext) => Float32Array;

/** Several processors, one after the other. */
export const inOrder =
  (processors: readonly LogitsProcessor[]): LogitsProcessor =>
  (scores, context) =>
    processors.reduce((current, processor) => processor(current, context), scores);

/** exp(score) normalised to sum 1; float64 sums. */
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

/** A copy without the tokens that `removes` names. */
export function without(scores: Float32Array, removes: (id: number) => boolean): Float32Array {
  return scores.map((score, id) => (removes(id) ? -Infinity : score));
}
