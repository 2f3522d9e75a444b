/** A histogram: bin `i` counts values from `bounds[i]` up to, not including, `bounds[i + 1]`. */
export interface Histogram {
  readonly bounds: readonly number[];
  readonly counts: readonly number[];
  readonly count: number;
  readonly mean: number;
  readonly smallest: number;
  readonly median: number;
  readonly p95: number;
  readonly largest: number;
}

/** Returns the value below which the given share of sorted values is. */
function quantile(sorted: ArrayLike<number>, share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0;
}

/** Returns the median of sorted values: the middle one, or the mean of the two middle ones. */
export function medianOf(sorted: ArrayLike<number>): number {
  const middle = sorted.length / 2;
  return ((sorted[Math.ceil(middle) - 1] ?? 0) + (sorted[Math.floor(middle)] ?? 0)) / 2;
}

/** Returns a bin width of 1, 2 or 5 times a power of ten that results in at most `bins` bins. */
function niceWidth(range: number, bins: number): number {
  const rough = Math.max(range, Number.EPSILON) / bins;
  const power = 10 ** Math.floor(Math.log10(rough));
  return ([1, 2, 5, 10].find((factor) => factor * power >= rough) ?? 10) * power;
}

/**
 * Creates a histogram up to the 99th percentile; the last bin also counts the values above it.
 *
 * @param integers whether bins have integer width
 */
export function histogramOf(values: ArrayLike<number>, bins = 24, integers = true): Histogram {
  const sorted = Float64Array.from(values).sort();
  const count = sorted.length;
  const [smallest, largest] = [sorted[0] ?? 0, sorted[count - 1] ?? 0];
  const top = quantile(sorted, 0.99);
  const width = integers ? Math.max(1, Math.ceil(niceWidth(top - smallest, bins))) : niceWidth(top - smallest, bins);
  const first = Math.floor(smallest / width) * width;
  const number = Math.max(1, Math.min(bins + 1, Math.floor((top - first) / width) + 1));
  const counts = Array.from({ length: number }, () => 0);
  for (const value of sorted) {
    const bin = Math.min(number - 1, Math.floor((value - first) / width));
    counts[bin] = (counts[bin] ?? 0) + 1;
  }
  const mean = count === 0 ? 0 : sorted.reduce((sum, value) => sum + value, 0) / count;
  const bounds = Array.from({ length: number + 1 }, (_, index) =>
    index === number ? Math.max(largest, first + number * width) : first + index * width,
  );
  return { bounds, counts, count, mean, smallest, median: medianOf(sorted), p95: quantile(sorted, 0.95), largest };
}
