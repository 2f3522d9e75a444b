import { without, type LogitsProcessor } from './logits-processor.js';

/**
 * Lowers the scores of tokens that occurred in the prompt or the generated text: divides positive scores by `penalty`
 * and multiplies negative ones (Keskar et al. 2019). 1 has no effect.
 */
export const repetitionPenalty =
  (penalty: number): LogitsProcessor =>
  (scores, { ids }) => {
    const result = scores.slice();
    for (const id of new Set(ids)) {
      const score = scores[id];
      if (score !== undefined) result[id] = score < 0 ? score * penalty : score / penalty;
    }
    return result;
  };

/**
 * Subtracts `presence` from the score of every generated token, and `frequency` for each occurrence, as the OpenAI API
 * does. The prompt does not count.
 */
export const presenceAndFrequencyPenalty =
  (presence: number, frequency: number): LogitsProcessor =>
  (scores, { ids, promptLength }) => {
    const counts = new Map<number, number>();
    for (const id of ids.slice(promptLength)) counts.set(id, (counts.get(id) ?? 0) + 1);
    const result = scores.slice();
    for (const [id, count] of counts) result[id] = (result[id] ?? 0) - presence - frequency * count;
    return result;
  };

/** Excludes tokens that would repeat an n-gram of `size` tokens. */
export const noRepeatNgram =
  (size: number): LogitsProcessor =>
  (scores, { ids }) => {
    if (ids.length + 1 < size) return scores.slice();
    const tail = ids.slice(ids.length - size + 1);
    const banned = new Set<number>();
    for (let start = 0; start + size <= ids.length; start++) {
      const last = ids[start + size - 1];
      if (last !== undefined && tail.every((id, offset) => ids[start + offset] === id)) banned.add(last);
    }
    return without(scores, (id) => banned.has(id));
  };

/** Excludes the end tokens until `count` tokens are generated. */
export const minNewTokens =
  (count: number, endIds: readonly number[]): LogitsProcessor =>
  (scores, { ids, promptLength }) => {
    const result = scores.slice();
    if (ids.length - promptLength < count) for (const id of endIds) if (id < result.length) result[id] = -Infinity;
    return result;
  };

/**
 * Excludes tokens always.
 *
 * @public
 */
export const suppressTokens = (tokens: readonly number[]): LogitsProcessor => {
  const suppressed = new Set(tokens);
  return (scores) => without(scores, (id) => suppressed.has(id));
};

/**
 * Adds a bias to the last token of a sequence if the tokens before it are the most recent ones. The bias of a
 * one-token sequence always applies.
 */
export const sequenceBias =
  (biases: readonly (readonly [readonly number[], number])[]): LogitsProcessor =>
  (scores, { ids }) => {
    const result = scores.slice();
    for (const [sequence, bias] of biases) {
      const last = sequence.at(-1);
      const before = sequence.slice(0, -1);
      if (last === undefined || before.length > ids.length) continue;
      if (before.every((id, offset) => ids[ids.length - before.length + offset] === id))
        result[last] = (result[last] ?? 0) + bias;
    }
    return result;
  };

/** Excludes tokens that would complete one of the sequences. */
export const badWords = (sequences: readonly (readonly number[])[]): LogitsProcessor =>
  sequenceBias(sequences.map((sequence) => [sequence, -Infinity] as const));
