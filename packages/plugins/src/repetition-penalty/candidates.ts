import type { Batch, SupervisedPositions } from '@whetstone/core/contract';

/** From and to (not included), counted in supervised positions. */
export type Span = readonly [number, number];

/** Replies among the supervised positions: index of the first position of each, and one past the last. */
export function repliesOf(
  { positions }: SupervisedPositions,
  { length }: Pick<Batch, 'length'>,
  segmentIds: Int32Array,
): readonly Span[] {
  const replies: [number, number][] = [];
  for (const [index, position] of positions.entries()) {
    const before = positions[index - 1];
    const goesOn =
      before !== undefined &&
      position === before + 1 &&
      position % length !== 0 &&
      segmentIds[position] === segmentIds[before];
    const last = replies.at(-1);
    if (goesOn && last !== undefined) last[1] = index + 1;
    else replies.push([index, index + 1]);
  }
  return replies;
}

/**
 * For each target, the tokens that it must not be: those among the reply's last `window` tokens, or, for n-grams, those
 * that would repeat the n − 1 tokens before with the token that then followed. The target itself is never among them
 * (Welleck et al. 2019).
 */
export function candidatesOf(
  targets: Int32Array,
  replies: readonly Span[],
  { ngram, window }: { readonly ngram: number; readonly window: number },
): readonly (readonly number[])[] {
  const candidates: number[][] = Array.from(targets, () => []);
  for (const [start, end] of replies) {
    for (let at = start + 1; at < end; at += 1) {
      const used = new Set<number>();
      for (let earlier = Math.max(start + ngram - 1, at - window); earlier < at; earlier += 1) {
        let repeats = true;
        for (let back = 1; back < ngram && repeats; back += 1)
          repeats = at - back >= start && targets[earlier - back] === targets[at - back];
        if (repeats && targets[earlier] !== targets[at]) used.add(targets[earlier] ?? 0);
      }
      candidates[at] = [...used];
    }
  }
  return candidates;
}

/** Which tokens of a text belong to an n-gram that stood in it before (Welleck et al. 2019). */
export function repeatedTokens(tokens: readonly number[], n: number): readonly boolean[] {
  const seen = new Set<string>();
  const repeated = tokens.map(() => false);
  for (let start = 0; start + n <= tokens.length; start += 1) {
    const gram = tokens.slice(start, start + n).join(' ');
    if (seen.has(gram)) repeated.fill(true, start, start + n);
    seen.add(gram);
  }
  return repeated;
}

/** Share of the n-grams of a text that stood in it before (seq-rep-n of Welleck et al. 2019): 0 where all are new. */
export function repetitionRate(tokens: readonly number[], n: number): number {
  const grams = tokens.slice(n - 1).map((_, start) => tokens.slice(start, start + n).join(' '));
  return grams.length === 0 ? 0 : 1 - new Set(grams).size / grams.length;
}

/** What stands before the first token that is learned, of each conversation of a batch. */
export function promptsOf(
  { rows, length, ids, labels, segmentIds }: Pick<Batch, 'rows' | 'length' | 'ids' | 'labels' | 'segmentIds'>,
  ignoredLabel: number,
): readonly (readonly number[])[] {
  const prompts: (readonly number[])[] = [];
  for (let row = 0; row < rows; row += 1) {
    let start = row * length;
    let open = true;
    for (let at = start; at < (row + 1) * length; at += 1) {
      const isNew = at > row * length && segmentIds[at] !== segmentIds[at - 1];
      if (isNew) [start, open] = [at, true];
      if (!open || labels[at] === ignoredLabel || segmentIds[at] === 0) continue;
      open = false;
      if (at > start) prompts.push([...ids.subarray(start, at)]);
    }
  }
  return prompts;
}
