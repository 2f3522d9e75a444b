import type { ChoiceSample, LikelihoodSample, ReferenceLikelihood } from '@whetstone/core/contract';
import type { Additive } from './accumulate.js';

type Numbers = Readonly<Record<string, number>>;

/** Statistics before those of the bins: nats, bytes, right tokens, tokens. */
const LEADING = 4;
/** Statistics of a bin: tokens, the sum of their confidences, right tokens. */
const PER_BIN = 3;

const bytesOf = (text: string): number => new TextEncoder().encode(text).length;

/** Returns the bin of a confidence: bin i holds those above i ÷ bins, up to (i + 1) ÷ bins. */
const binOf = (confidence: number, bins: number): number =>
  Math.min(bins - 1, Math.max(0, Math.ceil(confidence * bins) - 1));

/** Adds the tokens of a reference to the statistics. */
function addTokens(statistics: number[], likelihood: ReferenceLikelihood, bins: number): void {
  const add = (index: number, value: number): void => {
    statistics[index] = (statistics[index] ?? 0) + value;
  };
  const { tokens, logProbabilities, mostLikely, highestLogProbabilities } = likelihood;
  for (const [index, token] of tokens.entries()) {
    const right = mostLikely[index] === token ? 1 : 0;
    const confidence = Math.min(1, Math.exp(highestLogProbabilities[index] ?? NaN));
    add(0, -(logProbabilities[index] ?? NaN));
    add(2, right);
    add(3, 1);
    const bin = LEADING + PER_BIN * binOf(confidence, bins);
    add(bin, 1);
    add(bin + 1, confidence);
    add(bin + 2, right);
  }
}

/** A bin of a reliability table. */
interface ReliabilityBin {
  readonly count: number;
  /** The mean probability of the most likely tokens. */
  readonly confidence: number;
  /** The share of them that are right. */
  readonly accuracy: number;
}

function binsOf(sums: readonly number[], bins: number): ReliabilityBin[] {
  return Array.from({ length: bins }, (_, index) => {
    const start = LEADING + PER_BIN * index;
    const [count = 0, confidence = 0, right = 0] = sums.slice(start, start + PER_BIN);
    return { count, confidence: confidence / count, accuracy: right / count };
  });
}

/** Returns the names of the numbers of {@link additiveLikelihood}. */
export const likelihoodNumbers = (bins: number, reliability: boolean): string[] => [
  'bitsPerByte',
  'tokenAccuracy',
  'ece',
  ...(reliability ? Array.from({ length: bins }, (_, bin) => reliabilityNames(bin, bins)).flat() : []),
];

const reliabilityNames = (bin: number, bins: number): readonly [string, string, string] => {
  const name = `reliability/${((bin + 1) / bins).toFixed(2)}`;
  return [`${name}/tokens`, `${name}/confidence`, `${name}/accuracy`];
};

/**
 * Scores of the tokens of the references. Bits per byte: the nats of all tokens, divided by ln 2 and by the UTF-8 bytes
 * of the references. Token accuracy: the share of tokens that are the most likely ones. Expected calibration error (Guo
 * et al. 2017): the mean distance between confidence and accuracy over `bins` of equal width, weighted by their tokens.
 */
export const additiveLikelihood = (bins: number, reliability: boolean): Additive<LikelihoodSample, Numbers> => ({
  statistics: ({ references, likelihoods }) => {
    const statistics = Array.from({ length: LEADING + PER_BIN * bins }, () => 0);
    for (const [index, likelihood] of likelihoods.entries()) {
      if (likelihood.tokens.length === 0) continue;
      addTokens(statistics, likelihood, bins);
      statistics[1] = (statistics[1] ?? 0) + bytesOf(references[index] ?? '');
    }
    return statistics;
  },
  score: (sums) => {
    const [nats = 0, bytes = 0, right = 0, tokens = 0] = sums;
    const table = binsOf(sums, bins);
    const error = table.reduce(
      (sum, { count, confidence, accuracy }) => (count === 0 ? sum : sum + count * Math.abs(accuracy - confidence)),
      0,
    );
    return {
      bitsPerByte: nats / (Math.LN2 * bytes),
      tokenAccuracy: right / tokens,
      ece: error / tokens,
      ...(reliability &&
        Object.fromEntries(
          table.flatMap(({ count, confidence, accuracy }, bin) => {
            const [names, values] = [reliabilityNames(bin, bins), [count, confidence, accuracy]];
            return names.map((name, index) => [name, values[index] ?? NaN]);
          }),
        )),
    };
  },
});

/** The numbers of {@link additiveChoices}. */
export const CHOICE_NUMBERS = ['acc', 'acc_norm', 'acc_bytes'] as const;

/** Returns the index of the largest value; of equal ones, the first. */
const indexOfMax = (values: readonly number[]): number => values.indexOf(Math.max(...values));

/**
 * The accuracy of choosing the most likely answer, as lm-evaluation-harness computes it: `acc` by the log-likelihood of
 * the choice, `acc_norm` by it divided by the number of characters (Unicode code points), `acc_bytes` by UTF-8 bytes.
 */
export const additiveChoices: Additive<ChoiceSample, Readonly<Record<(typeof CHOICE_NUMBERS)[number], number>>> = {
  statistics: ({ choices, answer }) => {
    const sums = choices.map(({ likelihood }) => likelihood.logProbabilities.reduce((sum, value) => sum + value, 0));
    const scores = [
      sums,
      sums.map((sum, index) => sum / [...(choices[index]?.text ?? '')].length),
      sums.map((sum, index) => sum / bytesOf(choices[index]?.text ?? '')),
    ];
    return [...scores.map((values) => (indexOfMax(values) === answer ? 1 : 0)), 1];
  },
  score: ([own = 0, byCharacters = 0, byBytes = 0, count = 0]) => ({
    acc: own / count,
    acc_norm: byCharacters / count,
    acc_bytes: byBytes / count,
  }),
};
