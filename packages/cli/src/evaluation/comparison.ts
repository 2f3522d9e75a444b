import type { Metric } from '@whetstone/core/contract';
import type { Named } from '@whetstone/core/training';
import { pairedBootstrap, samplesForDifference, signTest, type PairedDifference } from '@whetstone/evaluation';
import { table } from '../format.js';
import type { SamplesFile, SampleStatistics } from './samples-file.js';

/** A number of two models on the same samples, with the tests of its difference. */
export interface ComparedNumber extends PairedDifference {
  /** Samples on which the second model has the higher number, the lower one, and the same. */
  readonly higher: number;
  readonly lower: number;
  readonly equal: number;
  /** P-value of the sign test. It is McNemar's exact test if the numbers of the samples are 0 and 1. */
  readonly signTest: number;
  /**
   * The number of samples that would be needed to find this difference with a probability of 80 %, at a significance of
   * 5 %; null if no sample differs.
   */
  readonly samplesNeeded: number | null;
}

/** Compares the numbers of additive metrics between a samples file and this evaluation, by name. */
export function compareSamples(
  first: SamplesFile,
  samples: readonly SampleStatistics[],
  metrics: readonly Named<Metric>[],
  options: { readonly confidence?: number; readonly seed?: number },
): Readonly<Record<string, ComparedNumber>> {
  const compared: Record<string, ComparedNumber> = {};
  for (const { plugin, instance } of metrics) {
    const { additive } = instance;
    const pairs = samples.flatMap(({ index, statistics }) => {
      const [before, after] = [first.lines[index]?.statistics[plugin], statistics[plugin]];
      return before === undefined || before.length !== after?.length ? [] : [{ before, after }];
    });
    if (additive === undefined || pairs.length === 0) continue;
    const numbers = (sums: readonly number[]) => additive.numbers(sums);
    const [before, after] = [pairs.map((pair) => pair.before), pairs.map((pair) => pair.after)];
    for (const [name, paired] of Object.entries(pairedBootstrap(before, after, numbers, options))) {
      const differences = pairs.map((pair) => (numbers(pair.after)[name] ?? 0) - (numbers(pair.before)[name] ?? 0));
      compared[name] = { ...paired, ...testsOf(differences, paired.difference) };
    }
  }
  return compared;
}

/** Returns the tests of the differences of single samples. */
function testsOf(differences: readonly number[], difference: number): Omit<ComparedNumber, keyof PairedDifference> {
  const higher = differences.filter((each) => each > 0).length;
  const lower = differences.filter((each) => each < 0).length;
  const mean = differences.reduce((sum, each) => sum + each, 0) / differences.length;
  const squares = differences.reduce((sum, each) => sum + (each - mean) ** 2, 0);
  const deviation = Math.sqrt(squares / Math.max(1, differences.length - 1));
  return {
    higher,
    lower,
    equal: differences.length - higher - lower,
    signTest: signTest(higher, lower),
    samplesNeeded:
      difference === 0 || deviation === 0
        ? null
        : samplesForDifference({ difference: Math.abs(difference), deviation }),
  };
}

/** Formats a comparison as a table. */
export function comparisonTable(compared: Readonly<Record<string, ComparedNumber>>): string {
  const digits = (value: number): string => value.toPrecision(4);
  const heading = ['', 'before', 'now', 'difference', '95 %', 'p', 'higher/lower', 'sign test', 'samples needed'];
  const rows = Object.entries(compared).map(([name, number]) => [
    name,
    digits(number.first),
    digits(number.second),
    digits(number.difference),
    intervalText(number.interval),
    number.pValue.toPrecision(2),
    `${number.higher}/${number.lower}`,
    number.signTest.toPrecision(2),
    number.samplesNeeded === null ? '–' : String(number.samplesNeeded),
  ]);
  return table([heading, ...rows]);
}

/** Formats a confidence interval: `[0.41, 0.56]`. */
export const intervalText = ([low, high]: readonly [number, number]): string =>
  `[${low.toPrecision(4)}, ${high.toPrecision(4)}]`;
