import { bleu, chrf, distinct, perplexity, rouge } from '@whetstone/evaluation';
import { ROUGE_KINDS, type RougeKind, type RougeTokenize } from '../../packages/evaluation/src/metrics/rouge.js';
import type { BleuTokenize } from '../../packages/evaluation/src/metrics/bleu.js';
import { expect, test } from 'vitest';
import { readGolden } from '../support/golden.js';

interface MetricsGolden {
  readonly pairs: readonly { readonly lang: 'en' | 'zh'; readonly prediction: string; readonly reference: string }[];
  readonly chrf: Readonly<Record<string, { readonly corpus: number; readonly sentences: readonly number[] }>>;
  readonly bleu: Readonly<
    Record<string, { readonly corpus_bleu: number; readonly sentence_bleu_effective_order: readonly number[] }>
  >;
  readonly rouge: Readonly<
    Record<
      string,
      Readonly<
        Record<
          RougeKind,
          Readonly<Record<'precision' | 'recall' | 'f', readonly number[]>> & { readonly mean_f: number }
        >
      >
    >
  >;
  readonly distinct: Readonly<Record<string, number | string>>;
  readonly perplexity: {
    readonly token_losses: readonly (readonly number[])[];
    readonly corpus: number;
    readonly per_sequence: readonly number[];
  };
}

const golden = readGolden<MetricsGolden>('metrics', 'golden.json');

test.each(['en', 'zh'] as const)('chrF of a corpus and of its sentences equals sacrebleu (%s)', (language) => {
  const pairs = golden.pairs.filter(({ lang }) => lang === language);
  const expected = golden.chrf[`${language}.chrF`];
  expect(chrf(pairs)).toBeCloseTo(expected?.corpus ?? NaN, 6);
  pairs.forEach((pair, index) => expect(chrf([pair])).toBeCloseTo(expected?.sentences[index] ?? NaN, 6));
});

test.each(['en', 'zh'] as const)('chrF++ of a corpus and of its sentences equals sacrebleu (%s)', (language) => {
  const pairs = golden.pairs.filter(({ lang }) => lang === language);
  const expected = golden.chrf[`${language}.chrF++`];
  expect(chrf(pairs, { wordOrder: 2 })).toBeCloseTo(expected?.corpus ?? NaN, 6);
  pairs.forEach((pair, index) =>
    expect(chrf([pair], { wordOrder: 2 })).toBeCloseTo(expected?.sentences[index] ?? NaN, 6),
  );
});

test.each(Object.keys(golden.bleu))('BLEU of a corpus and of its sentences equals sacrebleu (%s)', (name) => {
  const [language, tokenize] = name.split('.') as [string, BleuTokenize];
  const pairs = golden.pairs.filter(({ lang }) => language === 'all' || lang === language);
  expect(bleu(pairs, { tokenize })).toBeCloseTo(golden.bleu[name]?.corpus_bleu ?? NaN, 6);
  pairs.forEach((pair, index) =>
    expect(bleu([pair], { tokenize, effectiveOrder: true })).toBeCloseTo(
      golden.bleu[name]?.sentence_bleu_effective_order[index] ?? NaN,
      6,
    ),
  );
});

test.each([
  ['en', 'words'],
  ['zh.default_tokenizer', 'words'],
  ['zh.char_tokenizer', 'characters'],
] as const)('ROUGE without a stemmer equals rouge-score (%s)', (name, tokenize: RougeTokenize) => {
  const pairs = golden.pairs.filter(({ lang }) => lang === name.slice(0, 2));
  for (const kind of ROUGE_KINDS) {
    const scores = pairs.map((pair) => rouge(pair, kind, tokenize));
    for (const field of ['precision', 'recall', 'f'] as const)
      scores.forEach((score, index) =>
        expect(score[field], `${kind} ${field} ${index}`).toBeCloseTo(
          golden.rouge[name]?.[kind][field][index] ?? NaN,
          9,
        ),
      );
  }
});

test.each(['en', 'zh'] as const)('distinct-n of words or characters equals the reference (%s)', (language) => {
  const texts = golden.pairs.filter(({ lang }) => lang === language).map(({ prediction }) => prediction);
  for (const order of [1, 2, 3])
    expect(distinct(texts, order)).toBeCloseTo(Number(golden.distinct[`${language}.distinct-${order}`]), 9);
});

test('perplexity gives every token the same weight', () => {
  expect(perplexity(golden.perplexity.token_losses)).toBeCloseTo(golden.perplexity.corpus, 9);
  golden.perplexity.token_losses.forEach((losses, index) =>
    expect(perplexity([losses])).toBeCloseTo(golden.perplexity.per_sequence[index] ?? NaN, 9),
  );
});
