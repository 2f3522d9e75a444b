import type { Additive } from './accumulate.js';
import type { Pair } from './chrf.js';

/** Precision, recall and their harmonic mean, 0 to 1; 0 if undefined. */
interface ClassScores {
  readonly precision: number;
  readonly recall: number;
  readonly f1: number;
}

/** The scores of a classification, as scikit-learn computes them with `zero_division=0`. */
export interface ClassificationScores {
  readonly accuracy: number;
  readonly micro: ClassScores;
  readonly macro: ClassScores;
  readonly weighted: ClassScores;
  /** By label, with the number of references. */
  readonly classes: Readonly<Record<string, ClassScores & { readonly support: number }>>;
  /** Counts, `[label of the reference][label of the prediction]`. A last column counts predictions without a label. */
  readonly confusion: readonly (readonly number[])[];
}

const ratio = (above: number, below: number): number => (below === 0 ? 0 : above / below);

function scoresOf(correct: number, predicted: number, expected: number): ClassScores {
  const [precision, recall] = [ratio(correct, predicted), ratio(correct, expected)];
  return { precision, recall, f1: ratio(2 * correct, predicted + expected) };
}

/** Returns the mean of the scores of classes with these weights. */
function weightedMean(scores: readonly ClassScores[], weights: readonly number[]): ClassScores {
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const meanOf = (name: keyof ClassScores): number =>
    ratio(
      scores.reduce((sum, each, index) => sum + each[name] * (weights[index] ?? 0), 0),
      total,
    );
  return { precision: meanOf('precision'), recall: meanOf('recall'), f1: meanOf('f1') };
}

const comparable = (text: string): string =>
  text
    .normalize('NFKC')
    .toLowerCase()
    .replace(/[\p{P}\p{S}\s]+/gu, ' ')
    .trim();

/**
 * Returns the index of the label that a text gives: the text itself without case and punctuation, otherwise the only
 * label that it contains as words. Returns -1 if there is none, or more than one. A label in another one, such as
 * `positive` in `not positive`, does not count.
 */
export function labelIn(text: string, labels: readonly string[]): number {
  const compared = comparable(text);
  const names = labels.map(comparable);
  const exact = names.indexOf(compared);
  if (exact >= 0) return exact;
  const contains = (whole: string, part: string): boolean => {
    for (let at = whole.indexOf(part); at >= 0; at = whole.indexOf(part, at + 1)) {
      const around = [whole.slice(0, at).at(-1), whole[at + part.length]];
      if (around.every((character) => character === undefined || !/[a-z0-9]/.test(character))) return true;
    }
    return false;
  };
  const found = names.flatMap((name, index) => (name !== '' && contains(compared, name) ? [index] : []));
  const longest = found.filter(
    (index) => !found.some((other) => other !== index && contains(names[other] ?? '', names[index] ?? '')),
  );
  return longest.length === 1 ? (longest[0] ?? -1) : -1;
}

/**
 * The additive form of {@link classificationScores}: the counts of the confusion matrix, row after row. A reference
 * without a label does not count.
 */
export const additiveClassification = (labels: readonly string[]): Additive<Pair, ClassificationScores> => ({
  statistics: ({ prediction, reference }) => {
    const columns = labels.length + 1;
    const counts = Array.from({ length: labels.length * columns }, () => 0);
    const [own, expected] = [labelIn(prediction, labels), labelIn(reference, labels)];
    if (expected >= 0) counts[expected * columns + (own < 0 ? labels.length : own)] = 1;
    return counts;
  },
  score: (sums) => {
    const columns = labels.length + 1;
    const confusion = labels.map((_, row) => Array.from({ length: columns }, (_, at) => sums[row * columns + at] ?? 0));
    const total = (counts: readonly number[]): number => counts.reduce((sum, count) => sum + count, 0);
    const correct = labels.map((_, index) => confusion[index]?.[index] ?? 0);
    const support = confusion.map(total);
    const predicted = labels.map((_, index) => total(confusion.map((row) => row[index] ?? 0)));
    const scores = labels.map((_, index) => scoresOf(correct[index] ?? 0, predicted[index] ?? 0, support[index] ?? 0));
    return {
      accuracy: ratio(total(correct), total(support)),
      micro: scoresOf(total(correct), total(predicted), total(support)),
      macro: weightedMean(
        scores,
        scores.map(() => 1),
      ),
      weighted: weightedMean(scores, support),
      classes: Object.fromEntries(
        labels.map((label, index) => [
          label,
          { precision: 0, recall: 0, f1: 0, ...scores[index], support: support[index] ?? 0 },
        ]),
      ),
      confusion,
    };
  },
});

/** Returns the scores of replies that classify. `labels` are all classes. */
export function classificationScores(pairs: readonly Pair[], labels: readonly string[]): ClassificationScores {
  const { statistics, score } = additiveClassification(labels);
  const sums: number[] = [];
  for (const pair of pairs)
    for (const [index, count] of statistics(pair).entries()) sums[index] = (sums[index] ?? 0) + count;
  return score(sums);
}

/** Which numbers of a classification are reported. */
interface ReportedClassification {
  readonly perClass: boolean;
  readonly confusion: boolean;
}

const AVERAGES = ['macro', 'micro', 'weighted'] as const;
const SCORES = ['precision', 'recall', 'f1'] as const;
const NO_LABEL = '(none)';

const confusionNames = (labels: readonly string[]): string[] =>
  labels.flatMap((expected) => [...labels, NO_LABEL].map((own) => `confusion/${expected}/${own}`));

/** Returns the names of the numbers of {@link flatClassification}. */
export const classificationNumbers = (labels: readonly string[], { perClass, confusion }: ReportedClassification) => [
  'accuracy',
  ...AVERAGES.flatMap((average) => SCORES.map((score) => `${average}/${score}`)),
  ...(perClass ? labels.flatMap((label) => SCORES.map((score) => `class/${label}/${score}`)) : []),
  ...(confusion ? confusionNames(labels) : []),
];

/** Returns the scores of a classification as numbers by name: `macro/f1`, `class/yes/recall`, `confusion/yes/no`. */
export function flatClassification(
  scores: ClassificationScores,
  labels: readonly string[],
  { perClass, confusion }: ReportedClassification,
): Readonly<Record<string, number>> {
  const classes = labels.map((label) => scores.classes[label]);
  const counts = scores.confusion.flat();
  return {
    accuracy: scores.accuracy,
    ...Object.fromEntries(
      AVERAGES.flatMap((average) => SCORES.map((score) => [`${average}/${score}`, scores[average][score]])),
    ),
    ...(perClass &&
      Object.fromEntries(
        labels.flatMap((label, index) =>
          SCORES.map((score) => [`class/${label}/${score}`, classes[index]?.[score] ?? 0]),
        ),
      )),
    ...(confusion && Object.fromEntries(confusionNames(labels).map((name, index) => [name, counts[index] ?? 0]))),
  };
}
