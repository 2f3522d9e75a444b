import { chrf, distinct, perplexity } from '@whetstone/evaluation';
import { expect, test } from 'vitest';
import { readGolden } from '../support/golden.js';

interface MetricsGolden {
  readonly pairs: readonly { readonly lang: 'en' | 'zh'; readonly prediction: string; readonly reference: string }[];
  readonly chrf: Readonly<Record<string, { readonly corpus: number; readonly sentences: readonly number[] }>>;
  readonly distinct: Readonly<Record<string, number | string>>;
  readonly perplexity: { readonly token_losses: readonly (readonly number[])[]; readonly corpus: number; readonly per_sequence: readonly number[] };
}

const golden = readGolden<MetricsGolden>('metrics', 'golden.json');

test.each(['en', 'zh'] as const)('chrF of a corpus and of its sentences is sacrebleu\'s (%s)', (language) => {
  const pairs = golden.pairs.filter(({ lang }) => lang === language);
  const expected = golden.chrf[`${language}.chrF`];
  expect(chrf(pairs)).toBeCloseTo(expected?.corpus ?? NaN, 6);
  pairs.forEach((pair, index) => expect(chrf([pair])).toBeCloseTo(expected?.sentences[index] ?? NaN, 6));
});

test.each(['en', 'zh'] as const)('distinct-n, in words or in characters (%s)', (language) => {
  const texts = golden.pairs.filter(({ lang }) => lang === language).map(({ prediction }) => prediction);
  for (const order of [1, 2, 3]) expect(distinct(texts, order)).toBeCloseTo(Number(golden.distinct[`${language}.distinct-${order}`]), 9);
});

test('perplexity weighs every token alike', () => {
  expect(perplexity(golden.perplexity.token_losses)).toBeCloseTo(golden.perplexity.corpus, 9);
  golden.perplexity.token_losses.forEach((losses, index) => expect(perplexity([losses])).toBeCloseTo(golden.perplexity.per_sequence[index] ?? NaN, 9));
});
