import type { Batch, SupervisedPositions } from '@whetstone/core/contract';

/** Start and end (exclusive), as indices of supervised positions. */
export type Span = readonly [number, number];

/** Returns the spans of the replies among the supervised positions. */
export function repliesOf(
  { positions }: SupervisedPositions,
  { length }: Pick<Batch, 'length'>,
  segmentIds: Int32Array,
): readonly Span[] {
  const replies: [number, number][] = [];
  for (const [index, position] of positions.entries()) {
    const before = positions[index - 1];
    const continues =
      before !== undefined &&
      position === before + 1 &&
      position % length !== 0 &&
      segmentIds[position] === segmentIds[before];
    const last = replies.at(-1);
    if (continues && last !== undefined) last[1] = index + 1;
    else replies.push([index, index + 1]);
  }
  return replies;
}

/**
 * Returns the negative candidates of each target: the tokens among the reply's last `window` tokens or, for n-grams,
 * those that would repeat an n-gram after the preceding n − 1 tokens. They never include the target itself (Welleck et
 * al. 2019).
 */
export function candidatesOf(
  targets: Int32Array,
  replies: readonly Span[],
  { ngram, window }: { readonly ngram: number; readonly window: number },
): readonly (readonly number[])[] {
  const candidates: number[][] = Array.from(targets, () => []);
  for (const [start, end] of replies) {
    for (let at = start + 1; at < end; at++) {
      const used = new Set<number>();
      for (let earlier = Math.max(start + ngram - 1, at - window); earlier < at; earlier++) {
        let repeats = true;
        for (let back = 1; back < ngram && repeats; back++)
          repeats = at - back >= start && targets[earlier - back] === targets[at - back];
        if (repeats && targets[earlier] !== targets[at]) used.add(targets[earlier] ?? 0);
      }
      candidates[at] = [...used];
    }
  }
  return candidates;
}

/** Returns which tokens of a text belong to a repeated n-gram (Welleck et al. 2019). */
export function repeatedTokens(tokens: readonly number[], n: number): readonly boolean[] {
  const seen = new Set<string>();
  const repeated = tokens.map(() => false);
  for (let start = 0; start + n <= tokens.length; start++) {
    const gram = tokens.slice(start, start + n).join(' ');
    if (seen.has(gram)) repeated.fill(true, start, start + n);
    seen.add(gram);
  }
  return repeated;
}

/** Returns the share of repeated n-grams of a text (seq-rep-n of Welleck et al. 2019); 0 if all n-grams differ. */
export function repetitionRate(tokens: readonly number[], n: number): number {
  const grams = tokens.slice(n - 1).map((_, start) => tokens.slice(start, start + n).join(' '));
  return grams.length === 0 ? 0 : 1 - new Set(grams).size / grams.length;
}

/** Returns the tokens before the first target of each conversation of a batch. */
export function promptsOf(
  { rows, length, ids, labels, segmentIds }: Pick<Batch, 'rows' | 'length' | 'ids' | 'labels' | 'segmentIds'>,
  ignoredLabel: number,
): readonly (readonly number[])[] {
  const prompts: (readonly number[])[] = [];
  for (let row = 0; row < rows; row++) {
    let start = row * length;
    let open = true;
    for (let at = start; at < (row + 1) * length; at++) {
      const isNew = at > row * length && segmentIds[at] !== segmentIds[at - 1];
      if (isNew) [start, open] = [at, true];
      if (!open || labels[at] === ignoredLabel || segmentIds[at] === 0) continue;
      open = false;
      if (at > start) prompts.push([...ids.subarray(start, at)]);
    }
  }
  return prompts;
}
