import '@tensorflow/tfjs-backend-cpu';
import '@whetstone/core/tfjs-gradients';
import type { Callback } from '@whetstone/core/contract';
import { generateIds } from '@whetstone/models';
import { createRepetitionPenalty } from '../../packages/plugins/src/repetition-penalty/repetition-penalty.js';
import { repetitionRate } from '@whetstone/plugins';
import { batchSourceOf, testRandom, type Row } from '@whetstone/testing';
import { describe, expect, it } from 'vitest';
import { useBackend } from '../../test/support/backend.js';
import { disposeRun, testRun, tinyModel, train } from '../../test/support/training.js';

/**
 * Replies without repeated tokens, made of pairs that often follow each other. A model that has learned only which
 * token follows which would alternate between two tokens endlessly.
 */
function replies(count: number, seed: number): Row[] {
  const random = testRandom(seed);
  const [first, tokens, length] = [8, 24, 10];
  return Array.from({ length: count }, () => {
    const used: number[] = [];
    while (used.length < length) {
      const last = used.at(-1);
      const partner = last === undefined ? undefined : first + ((last - first) ^ 1);
      const free = Array.from({ length: tokens }, (_, index) => first + index).filter((token) => !used.includes(token));
      used.push(
        partner !== undefined && !used.includes(partner) && random() < 0.85
          ? partner
          : (free[Math.floor(random() * free.length)] ?? first),
      );
    }
    return { ids: [1, ...used], supervised: [false, ...used.map(() => true)] };
  });
}

async function outcome(callbacks: readonly Callback[]): Promise<{ readonly rate: number; readonly loss: number }> {
  const model = tinyModel(3);
  const run = testRun({
    model,
    learningRate: 0.01,
    trainData: batchSourceOf(replies(96, 5), 8),
    evalData: batchSourceOf(replies(48, 6), 16),
    callbacks,
    training: { numTrainEpochs: 4, evalStrategy: 'ends' },
  });
  const { report } = await train(run);
  const prompts = Array.from({ length: 12 }, (_, index) => [1, 8 + 2 * index]);
  const said = prompts.map((): number[] => []);
  for await (const { row, id } of generateIds(model, prompts, { maxNewTokens: 9 })) said[row]?.push(id);
  disposeRun(run);
  const rates = said.map((reply, row) => repetitionRate([...(prompts[row] ?? []).slice(1), ...reply], 1));
  return { rate: rates.reduce((sum, rate) => sum + rate, 0) / rates.length, loss: report.evalLossAfter ?? NaN };
}

describe('repetition', () => {
  it('is the share of n-grams that came before', () => {
    expect(repetitionRate([1, 2, 3, 4, 5], 2)).toBe(0);
    // 12, 23, 31, 12, 23: two of five are repeated.
    expect(repetitionRate([1, 2, 3, 1, 2, 3], 2)).toBeCloseTo(2 / 5, 12);
    expect(repetitionRate([1, 1, 1, 1, 1], 4)).toBe(1 / 2);
    expect(repetitionRate([1, 2], 4)).toBe(0);
  });

  it('of greedy replies falls under each part of the callback, at less than 2 % of the loss', async () => {
    await useBackend('cpu');
    const plain = await outcome([]);
    expect(plain.rate).toBeGreaterThan(0.3);
    const parts: readonly (readonly [Parameters<typeof createRepetitionPenalty>[0], number])[] = [
      [{ unlikelihood: 1, diversity: 0.2 }, 0.75],
      [
        {
          unlikelihood: 0,
          generated: { weight: 0.5, ngram: 2, maxNewTokens: 16, pool: 24, everySteps: 1, perMicrobatch: 24 },
        },
        0.85,
      ],
    ];
    for (const [options, share] of parts) {
      const penalised = await outcome([createRepetitionPenalty(options)]);
      expect(penalised.rate, JSON.stringify(options)).toBeLessThan(share * plain.rate);
      expect(penalised.loss, JSON.stringify(options)).toBeLessThan(1.02 * plain.loss);
    }
  }, 360_000);
});
