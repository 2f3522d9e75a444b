import { classificationScores, passAtK, selfBleu, ter } from '@whetstone/evaluation';
import { expect, test } from 'vitest';
import { readGolden } from '../support/golden.js';

interface Scores {
  readonly corpus: number;
  readonly sentences: readonly number[];
}

interface Averages {
  readonly precision: number;
  readonly recall: number;
  readonly f1: number;
}

interface MetricsGolden {
  readonly pairs: readonly { readonly lang: 'en' | 'zh'; readonly prediction: string; readonly reference: string }[];
  readonly ter: Readonly<Record<string, Scores>>;
  readonly classification: readonly (Readonly<Record<'micro' | 'macro' | 'weighted', Averages>> & {
    readonly labels: readonly number[];
    readonly predictions: readonly number[];
    readonly accuracy: number;
    readonly confusion_matrix: readonly (readonly number[])[];
    readonly per_class: Readonly<Record<'precision' | 'recall' | 'f1' | 'support', readonly number[]>>;
  })[];
}

interface ReplyGolden {
  readonly ter_characters: Scores;
  readonly ter_long: Scores & { readonly pairs: readonly (readonly [string, string])[] };
  readonly self_bleu: Readonly<Record<string, number>>;
  readonly pass_at_k: readonly (readonly [count: number, right: number, k: number, expected: number])[];
}

const golden = readGolden<MetricsGolden>('metrics', 'golden.json');
const replies = readGolden<ReplyGolden>('reply-metrics', 'golden.json');
const pairsOf = (language: string) => golden.pairs.filter(({ lang }) => lang === language);

function expectTer(pairs: Parameters<typeof ter>[0], expected: Scores, options: Parameters<typeof ter>[1]): void {
  expect(ter(pairs, options)).toBeCloseTo(expected.corpus, 9);
  for (const [index, pair] of pairs.entries())
    expect(ter([pair], options), `sentence ${index}`).toBeCloseTo(expected.sentences[index] ?? NaN, 9);
}

test.each([
  ['en', 'default', {}],
  ['en', 'case_sensitive', { caseSensitive: true }],
  ['zh', 'default', {}],
] as const)('TER of a corpus and of its sentences equals sacrebleu (%s, %s)', (language, name, options) =>
  expectTer(pairsOf(language), golden.ter[`${language}.${name}`] as Scores, options),
);

test('TER of characters equals that of sacrebleu for texts with spaces between them', () =>
  expectTer(pairsOf('zh'), replies.ter_characters, { tokenize: 'characters' }));

test('TER of long texts keeps to the limits of the search, and empty texts have one', () =>
  expectTer(
    replies.ter_long.pairs.map(([prediction, reference]) => ({ prediction, reference })),
    replies.ter_long,
    {},
  ));

test.each(golden.classification.map((row, index) => ({ index, row })))(
  'scores of a classification equal scikit-learn ($index)',
  ({ row }) => {
    const labels = row.confusion_matrix.map((_, label) => String(label));
    const pairs = row.labels.map((label, index) => ({
      reference: String(label),
      prediction: String(row.predictions[index]),
    }));
    const scores = classificationScores(pairs, labels);
    expect(scores.accuracy).toBeCloseTo(row.accuracy, 12);
    expect(scores.confusion).toEqual(row.confusion_matrix.map((counts) => [...counts, 0]));
    for (const average of ['micro', 'macro', 'weighted'] as const)
      for (const name of ['precision', 'recall', 'f1'] as const)
        expect(scores[average][name], `${average} ${name}`).toBeCloseTo(row[average][name], 12);
    for (const [index, label] of labels.entries())
      for (const name of ['precision', 'recall', 'f1', 'support'] as const)
        expect(scores.classes[label]?.[name], `${name} of ${label}`).toBeCloseTo(row.per_class[name][index] ?? NaN, 12);
  },
);

test('self-BLEU is the mean of the BLEU that sacrebleu gives each text against the others', () => {
  const texts = (language: string) => pairsOf(language).map(({ prediction }) => prediction);
  expect(selfBleu(texts('en').filter((text) => text !== ''))).toBeCloseTo(replies.self_bleu['en.13a'] ?? NaN, 9);
  expect(selfBleu(texts('zh'), { tokenize: 'zh' })).toBeCloseTo(replies.self_bleu['zh.zh'] ?? NaN, 9);
  expect(selfBleu(['a b c d', 'a b c d'], { most: 1 })).toBeNaN();
});

test.each(replies.pass_at_k)('pass@k of %d replies, %d right, k %d', (count, right, k, expected) =>
  expect(passAtK(count, right, k)).toBeCloseTo(expected, 12),
);

test('pass@k needs k replies', () => {
  expect(() => passAtK(3, 1, 4)).toThrow(/pass@4 needs at least 4 replies: 3 were given/);
  expect(() => passAtK(3, 4, 1)).toThrow(RangeError);
});
