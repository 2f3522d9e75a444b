import { without, type LogitsProcessor } from './logits-processor.js';

/**
 * Divides positive scores of tokens that occurred, prompt included, and multiplies negative ones (Keskar et al. 2019).
 * 1 changes nothing.
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
 * Takes `presence` off every token that was generated, and `frequency` for each time it was (as the OpenAI API; the
 * prompt does not count).
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

/** Takes out every token that would complete a run of `size` tokens that stood before. */
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

/** Takes the end tokens out until so many tokens were generated. */
export const minNewTokens =
  (count: number, endIds: readonly number[]): LogitsProcessor =>
  (scores, { ids, promptLength }) => {
    const result = scores.slice();
    if (ids.length - promptLength < count) for (const id of endIds) if (id < result.length) result[id] = -Infinity;
    return result;
  };

/** Takes tokens out for good. */
export const suppressTokens = (tokens: readonly number[]): LogitsProcessor => {
  const suppressed = new Set(tokens);
  return (scores) => without(scores, (id) => suppressed.has(id));
};

/**
 * Adds a bias to the last token of a sequence wherever the tokens before it have just been generated; a sequence of one
 * token always gets it.
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

/** Takes out the token that would complete one of the sequences. */
export const badWords = (sequences: readonly (readonly number[])[]): LogitsProcessor =>
  sequenceBias(sequences.map((sequence) => [sequence, -Infinity] as const));
