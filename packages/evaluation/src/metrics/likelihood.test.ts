import type { ChoiceSample, LikelihoodSample, ReferenceLikelihood } from '@whetstone/core/contract';
import { expect, test } from 'vitest';
import { scoreOf } from './accumulate.js';
import { additiveChoices, additiveLikelihood } from './likelihood.js';

const conversation = { messages: [], form: 'chat', origin: { file: 'samples.jsonl', line: 1, index: 0 } } as const;

/** A reference with the probability of each token; a right token is the most likely one. */
function likelihoodOf(tokens: readonly (readonly [own: number, highest: number])[]): ReferenceLikelihood {
  return {
    tokens: Int32Array.from(tokens, () => 7),
    logProbabilities: Float32Array.from(tokens, ([own]) => Math.log(own)),
    mostLikely: Int32Array.from(tokens, ([own, highest]) => (own === highest ? 7 : 8)),
    highestLogProbabilities: Float32Array.from(tokens, ([, highest]) => Math.log(highest)),
  };
}

const sampleOf = (reference: string, tokens: readonly (readonly [number, number])[]): LikelihoodSample => ({
  conversation,
  prompt: [],
  columns: {},
  references: [reference],
  likelihoods: [likelihoodOf(tokens)],
});

test('bits per byte, token accuracy and calibration are those of their formulas', () => {
  const samples = [
    sampleOf('ab', [
      [0.5, 0.5],
      [0.25, 0.7],
    ]),
    // Three bytes each.
    sampleOf('你', [[0.125, 0.74]]),
    sampleOf('c', [[1, 1]]),
    sampleOf('left out by the template', []),
  ];
  const numbers = scoreOf(additiveLikelihood(4, true), samples);
  // −log₂ of ½ · ¼ · ⅛ · 1 is 6, for 2 + 3 + 1 bytes.
  expect(numbers['bitsPerByte']).toBeCloseTo(6 / 6, 6);
  expect(numbers['tokenAccuracy']).toBe(2 / 4);
  // Bins (0.25, 0.5]: 0.5, right. (0.5, 0.75]: 0.7 and 0.74, both wrong. (0.75, 1]: 1, right.
  expect(numbers['ece']).toBeCloseTo((1 * 0.5 + 2 * 0.72 + 0) / 4, 6);
  expect(numbers['reliability/0.75/tokens']).toBe(2);
  expect(numbers['reliability/0.75/confidence']).toBeCloseTo(0.72, 6);
  expect(numbers['reliability/0.75/accuracy']).toBe(0);
  expect(numbers['reliability/0.25/accuracy']).toBeNaN();
});

test('the most likely choice is compared by its sum, by characters and by bytes', () => {
  const sampleWith = (choices: readonly (readonly [text: string, nats: number])[]): ChoiceSample => ({
    conversation,
    prompt: [],
    columns: {},
    references: [choices[0]?.[0] ?? ''],
    choices: choices.map(([text, nats]) => ({ text, likelihood: likelihoodOf([[Math.exp(-nats), 1]]) })),
    answer: 0,
  });
  // Nats, per character and per byte: 4, 1, 1 against 3, 1.5, 1.5.
  const longer = sampleWith([
    ['long', 4],
    ['no', 3],
  ]);
  // 6, 3, 1 against 5, 2.5, 2.5: only bytes make up for it.
  const chinese = sampleWith([
    ['你好', 6],
    ['no', 5],
  ]);
  // The first of equal choices is taken.
  const equal = sampleWith([
    ['ab', 2],
    ['cd', 2],
  ]);
  expect(scoreOf(additiveChoices, [longer])).toEqual({ acc: 0, acc_norm: 1, acc_bytes: 1 });
  expect(scoreOf(additiveChoices, [chinese])).toEqual({ acc: 0, acc_norm: 0, acc_bytes: 1 });
  expect(scoreOf(additiveChoices, [longer, chinese, equal])).toEqual({ acc: 1 / 3, acc_norm: 2 / 3, acc_bytes: 1 });
});
