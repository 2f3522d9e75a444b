/**
 * What tokens count in the loss, for the few samples in which not all count 1: stretches `[end, weight, end, weight,
 * …]`, one after the other.
 */
export type WeightRuns = readonly number[];

/** The runs of a sample's weights; null where all are 1. */
export function runsOf(weights: Float32Array | undefined): WeightRuns | null {
  if (weights === undefined || weights.every((weight) => weight === 1)) return null;
  const runs: number[] = [];
  for (let start = 0; start < weights.length;) {
    let end = start + 1;
    while (end < weights.length && weights[end] === weights[start]) end++;
    runs.push(end, weights[start] ?? 1);
    start = end;
  }
  return runs;
}

/** Writes the weights of a sample's tokens `start` up to `end` into `target` from `at` on. */
export function fillWeights(target: Float32Array, at: number, runs: WeightRuns, start: number, end: number): void {
  let begin = 0;
  for (let run = 0; run < runs.length; run += 2) {
    const stop = runs[run] ?? 0;
    const [from, to] = [Math.max(begin, start), Math.min(stop, end)];
    if (from < to) target.fill(runs[run + 1] ?? 1, at + from - start, at + to - start);
    begin = stop;
  }
}
