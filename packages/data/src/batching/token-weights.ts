/** The weights of a sample's tokens in the loss, run-length encoded: `[end, weight, end, weight, …]`. */
export type WeightRuns = readonly number[];

/** Encodes the weights of a sample; returns null if all are 1. */
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

/** Writes the weights of a sample's tokens from `start` up to `end` to `target`, starting at `at`. */
export function fillWeights(target: Float32Array, at: number, runs: WeightRuns, start: number, end: number): void {
  let begin = 0;
  for (let run = 0; run < runs.length; run += 2) {
    const stop = runs[run] ?? 0;
    const [from, to] = [Math.max(begin, start), Math.min(stop, end)];
    if (from < to) target.fill(runs[run + 1] ?? 1, at + from - start, at + to - start);
    begin = stop;
  }
}
