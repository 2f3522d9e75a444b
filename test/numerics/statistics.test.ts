import {
  bootstrapIntervals,
  mcNemarTest,
  normalQuantile,
  pairedBootstrap,
  samplesForDifference,
  signTest,
} from '@whetstone/evaluation';
import { additiveBleu } from '../../packages/evaluation/src/metrics/bleu.js';
import { describe, expect, test } from 'vitest';
import { readGolden } from '../support/golden.js';

interface StatisticsGolden {
  /** Indices of each resample, as scipy drew them. */
  readonly draws: readonly (readonly number[])[];
  readonly interval: { readonly scores: readonly number[]; readonly low: number; readonly high: number };
  readonly paired: {
    readonly first: readonly string[];
    readonly second: readonly string[];
    readonly references: readonly string[];
    readonly bleu: readonly [number, number];
    readonly p_value: number;
    readonly low: number;
    readonly high: number;
  };
  readonly sign: readonly { readonly wins: number; readonly losses: number; readonly p_value: number }[];
  readonly normal_quantiles: readonly (readonly [number, number])[];
  readonly sample_sizes: readonly {
    readonly difference: number;
    readonly deviation: number;
    readonly significance: number;
    readonly power: number;
    readonly samples: number;
  }[];
}

const golden = readGolden<StatisticsGolden>('statistics', 'golden.json');

/** Returns the draws of the golden file, one after another. */
function goldenDraws() {
  let next = 0;
  return { resamples: golden.draws.length, draw: () => golden.draws[next++] ?? [] };
}

const mean = ([sum = 0, count = 0]: readonly number[]): Record<string, number> => ({ mean: sum / count });

test('a percentile interval equals scipy.stats.bootstrap with the same draws', () => {
  const { scores, low, high } = golden.interval;
  const { mean: interval } = bootstrapIntervals(
    scores.map((score) => [score, 1]),
    mean,
    goldenDraws(),
  );
  expect(interval?.[0]).toBeCloseTo(low, 12);
  expect(interval?.[1]).toBeCloseTo(high, 12);
});

test("a paired bootstrap of BLEU has sacrebleu's p-value and the quantiles of its differences", () => {
  const { first, second, references, bleu, p_value: expected, low, high } = golden.paired;
  const { statistics, score } = additiveBleu();
  const [before = [], after = []] = [first, second].map((predictions) =>
    predictions.map((prediction, index) => statistics({ prediction, reference: references[index] ?? '' })),
  );
  const { bleu: compared } = pairedBootstrap(before, after, (sums) => ({ bleu: score(sums) }), goldenDraws());
  expect(compared?.first).toBeCloseTo(bleu[0], 9);
  expect(compared?.second).toBeCloseTo(bleu[1], 9);
  expect(compared?.pValue).toBeCloseTo(expected, 12);
  expect(compared?.interval[0]).toBeCloseTo(low, 9);
  expect(compared?.interval[1]).toBeCloseTo(high, 9);
});

test.each(golden.sign)('the sign test of $wins wins and $losses losses equals scipy.stats.binomtest', (counts) => {
  expect(Math.abs(signTest(counts.wins, counts.losses) / counts.p_value - 1)).toBeLessThan(1e-11);
  const answers = [
    { first: false, second: true, count: counts.wins },
    { first: true, second: false, count: counts.losses },
    { first: true, second: true, count: 3 },
  ].flatMap(({ count, ...answer }) => Array.from({ length: count }, () => answer));
  const found = mcNemarTest(
    answers.map(({ first }) => first),
    answers.map(({ second }) => second),
  );
  expect(found).toEqual({
    onlyFirst: counts.losses,
    onlySecond: counts.wins,
    pValue: signTest(counts.wins, counts.losses),
  });
});

test.each(golden.normal_quantiles)('the normal quantile of %d equals scipy.stats.norm.ppf', (probability, expected) =>
  expect(Math.abs(normalQuantile(probability) - expected)).toBeLessThan(2e-15 * Math.max(1, Math.abs(expected))),
);

test.each(golden.sample_sizes)('$samples samples find a difference of $difference', ({ samples, ...options }) =>
  expect(samplesForDifference(options)).toBe(samples),
);

describe('bootstrapIntervals', () => {
  test('repeats itself with a seed, contains the value, and narrows with more samples', () => {
    const rows = (count: number) => Array.from({ length: count }, (_, index) => [index % 2, 1]);
    const of = (count: number, seed = 1) => bootstrapIntervals(rows(count), mean, { seed })['mean'] ?? [NaN, NaN];
    const scores = golden.interval.scores.map((score) => [score, 1]);
    expect(of(40)).toEqual(of(40));
    expect(bootstrapIntervals(scores, mean, { seed: 1 })).not.toEqual(bootstrapIntervals(scores, mean, { seed: 2 }));
    const [[low, high], [lowOfMany, highOfMany]] = [of(40), of(4000)];
    expect(low).toBeLessThan(0.5);
    expect(high).toBeGreaterThan(0.5);
    // The standard deviation of the mean is √(0.25 ÷ n): ten times smaller, and 1.96 of it are half an interval.
    expect((high - low) / (highOfMany - lowOfMany)).toBeGreaterThan(6);
    expect(highOfMany - lowOfMany).toBeCloseTo(2 * 1.96 * Math.sqrt(0.25 / 4000), 2);
  });

  test('has no interval without samples, and leaves out resamples in which a number does not exist', () => {
    expect(bootstrapIntervals([], mean)).toEqual({});
    const onlyIfAny = ([sum = 0, count = 0]: readonly number[]): Record<string, number> =>
      count === 0 ? {} : { mean: sum / count };
    expect(
      bootstrapIntervals(
        [
          [3, 1],
          [0, 0],
        ],
        onlyIfAny,
      ),
    ).toEqual({ mean: [3, 3] });
  });
});

test('models on different numbers of samples are refused', () => {
  expect(() => pairedBootstrap([[1, 1]], [], mean)).toThrow(/same samples: 1 and 0/);
  expect(() => mcNemarTest([true], [])).toThrow(RangeError);
});
