import { createRandom } from '@whetstone/core/random';

/** The statistics of each sample, `[samples][statistics]`: numbers that are added up over samples. */
type StatisticsRows = readonly (readonly number[])[];

/** Returns numbers by name for the samples whose statistics add up to `sums`. */
type NumbersOfSums = (sums: readonly number[]) => Readonly<Record<string, number>>;

/** Draws `count` samples with replacement: returns their indices. Called once for each resample. */
type Draw = (count: number) => ArrayLike<number>;

/** Options of {@link bootstrapIntervals} and {@link pairedBootstrap}. */
interface BootstrapOptions {
  /** Number of resamples; 1,000 by default. */
  readonly resamples?: number;
  /** Probability with which an interval contains the value of the population; 0.95 by default. */
  readonly confidence?: number;
  /** Seed of the resamples; 42 by default. */
  readonly seed?: number;
  /** Draws the samples of each resample instead of a generator with the seed. */
  readonly draw?: Draw;
}

/** The lower and the upper end of a confidence interval. */
export type Interval = readonly [low: number, high: number];

const RESAMPLES = 1000;
const CONFIDENCE = 0.95;

/** Draws uniformly distributed indices. */
function drawWith(seed: number): Draw {
  const random = createRandom(seed, 'bootstrap');
  return (count) => Int32Array.from({ length: count }, () => random.integer(count));
}

/** Returns the sums of the statistics of the chosen samples. */
function sumsOf(rows: StatisticsRows, indices: ArrayLike<number>): number[] {
  const sums = Array.from({ length: rows[0]?.length ?? 0 }, () => 0);
  for (let at = 0; at < indices.length; at++) {
    const row = rows[indices[at] ?? 0] ?? [];
    for (let column = 0; column < sums.length; column++) sums[column] = (sums[column] ?? 0) + (row[column] ?? 0);
  }
  return sums;
}

const allOf = (rows: StatisticsRows): Int32Array => Int32Array.from(rows, (_, index) => index);

/** Returns the quantile of sorted values with linear interpolation, as NumPy does by default. */
function quantile(sorted: readonly number[], probability: number): number {
  const position = probability * (sorted.length - 1);
  const below = Math.floor(position);
  const [low = NaN, high = low] = [sorted[below], sorted[below + 1]];
  return low + (high - low) * (position - below);
}

/** Returns the interval between the quantiles at both ends. */
function percentileInterval(values: readonly number[], confidence: number): Interval {
  const sorted = values.toSorted((a, b) => a - b);
  return [quantile(sorted, (1 - confidence) / 2), quantile(sorted, (1 + confidence) / 2)];
}

/**
 * Returns the percentile bootstrap interval (Efron 1979) of each number: the quantiles of the number over resamples of
 * the samples. A number of a corpus, such as BLEU, is computed anew from the sums of each resample. Equal to
 * `scipy.stats.bootstrap` with `method='percentile'` for the same draws. Without samples, there are no intervals; a
 * number that does not exist in a resample is left out of its quantiles.
 */
export function bootstrapIntervals(
  rows: StatisticsRows,
  numbers: NumbersOfSums,
  { resamples = RESAMPLES, confidence = CONFIDENCE, seed = 42, draw = drawWith(seed) }: BootstrapOptions = {},
): Readonly<Record<string, Interval>> {
  if (rows.length === 0) return {};
  const values = new Map<string, number[]>(Object.keys(numbers(sumsOf(rows, allOf(rows)))).map((name) => [name, []]));
  for (let resample = 0; resample < resamples; resample++)
    for (const [name, value] of Object.entries(numbers(sumsOf(rows, draw(rows.length))))) values.get(name)?.push(value);
  return Object.fromEntries([...values].map(([name, all]) => [name, percentileInterval(all, confidence)]));
}

/** The difference of a number between two models on the same samples: second less first. */
export interface PairedDifference {
  readonly first: number;
  readonly second: number;
  readonly difference: number;
  /** Percentile bootstrap interval of the difference. */
  readonly interval: Interval;
  /** Probability of a difference at least as large if both models were equal. */
  readonly pValue: number;
}

/**
 * Compares two models on the same samples by the paired bootstrap (Koehn 2004): both are resampled together. The
 * p-value is that of sacrebleu: the share of resampled differences whose distance from their mean is at least the
 * measured difference, counting the measurement itself.
 *
 * @param first the statistics of the first model's samples
 * @param second those of the second model, in the same order
 * @throws `RangeError` if the numbers of samples differ
 */
export function pairedBootstrap(
  first: StatisticsRows,
  second: StatisticsRows,
  numbers: NumbersOfSums,
  { resamples = RESAMPLES, confidence = CONFIDENCE, seed = 42, draw = drawWith(seed) }: BootstrapOptions = {},
): Readonly<Record<string, PairedDifference>> {
  if (first.length !== second.length)
    throw new RangeError(`Both models need the same samples: ${first.length} and ${second.length} were given.`);
  if (first.length === 0) return {};
  const measured = [first, second].map((rows) => numbers(sumsOf(rows, allOf(rows)))) as [
    Readonly<Record<string, number>>,
    Readonly<Record<string, number>>,
  ];
  const names = Object.keys(measured[0]).filter((name) => Object.hasOwn(measured[1], name));
  const differences = new Map<string, number[]>(names.map((name) => [name, []]));
  for (let resample = 0; resample < resamples; resample++) {
    const indices = draw(first.length);
    const [before, after] = [numbers(sumsOf(first, indices)), numbers(sumsOf(second, indices))];
    for (const [name, all] of differences) {
      const difference = (after[name] ?? NaN) - (before[name] ?? NaN);
      if (!Number.isNaN(difference)) all.push(difference);
    }
  }
  return Object.fromEntries(
    names.map((name) => {
      const [before = NaN, after = NaN] = [measured[0][name], measured[1][name]];
      const all = differences.get(name) ?? [];
      const mean = all.reduce((sum, value) => sum + value, 0) / all.length;
      const distance = Math.abs(after - before);
      const extreme = all.filter((value) => Math.abs(value - mean) >= distance).length;
      const difference = after - before;
      const interval = percentileInterval(all, confidence);
      return [name, { first: before, second: after, difference, interval, pValue: (extreme + 1) / (all.length + 1) }];
    }),
  );
}
