import '@tensorflow/tfjs-backend-cpu';
import '@whetstone/core/tfjs-gradients';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { runTraining } from '@whetstone/core/training';
import type { Batch, Callback } from '@whetstone/core/contract';
import { createRandom } from '@whetstone/core/random';
import { hardSamplesStrategy } from '../../packages/strategies/src/hard-samples/hard-samples.js';
import { loraStrategy } from '../../packages/strategies/src/lora/lora.js';
import { batchOf, batchSourceOf, randomRows, type Row } from '@whetstone/testing';
import { beforeAll, describe, expect, it } from 'vitest';
import {
  drawSamples,
  drawWeights,
  offerSamples,
  type PooledSample,
} from '../../packages/strategies/src/hard-samples/pool.js';
import { samplesOf } from '../../packages/strategies/src/replay/rows.js';
import { temporaryFolder } from '../support/temporary-folder.js';
import { disposeRun, shuffledSource, testRun, tinyLlama, train } from '../support/training.js';

beforeAll(() => tf.setBackend('cpu'));

const rows = samplesOf(batchOf(randomRows(12, 48, 2)));
const pooled = (losses: readonly (number | null)[]): PooledSample[] =>
  losses.map((loss, index) => ({ row: rows[index] ?? rows[0]!, key: index / 100, loss, repeats: 0 }));
const limits = { maxWeight: 2, ignoreHardest: 0, maxRepeats: 100 };

describe('the draw of hard samples', () => {
  it('weights samples by loss, with limits on weight, hardness and repetitions', () => {
    expect(drawWeights(pooled([1, 2, 3]), limits)).toEqual([0.5, 1, 1.5]);
    // The mean is 4; 13 ÷ 4 is limited to 2.
    expect(drawWeights(pooled([1, 1, 1, 13]), limits)).toEqual([0.25, 0.25, 0.25, 2]);
    expect(drawWeights(pooled([1, 1, 1, 13]), { ...limits, ignoreHardest: 0.25 })).toEqual([1, 1, 1, 0]);
    expect(
      drawWeights([...pooled([1, null]), ...pooled([2]).map((sample) => ({ ...sample, repeats: 100 }))], limits),
    ).toEqual([1 / 1.5, 0, 0]);
  });

  it('draws in proportion to the weights, within the limit of repetitions', () => {
    const pool = pooled([1, 2, 3]);
    const counts = [0, 0, 0];
    for (let trial = 0; trial < 3000; trial++) {
      const {
        rows: [drawn],
      } = drawSamples(pool, 1, limits, createRandom(trial, 'draw'));
      counts[pool.findIndex(({ row }) => row === drawn)]!++;
    }
    // Shares 1/6, 2/6, 3/6 of 3000, with standard deviations of at most √(3000/4) ≈ 27.
    for (const [index, expected] of [500, 1000, 1500].entries())
      expect(Math.abs((counts[index] ?? 0) - expected)).toBeLessThan(120);
    const { rows: all, pool: after } = drawSamples(pool, 50, { ...limits, maxRepeats: 2 }, createRandom(1, 'draw'));
    expect(all).toHaveLength(6);
    expect(after.map(({ repeats }) => repeats)).toEqual([2, 2, 2]);
  });

  it('keeps a uniform sample of limited size, without duplicates, however often a sample is offered', () => {
    const first = offerSamples([], rows.slice(0, 3), 4, 1);
    expect(offerSamples(first, rows.slice(0, 3), 4, 1)).toHaveLength(3);
    // Epochs in the same order, of which the pool may remember nothing.
    for (const epochs of [1, 3]) {
      const kept = rows.map(() => 0);
      for (let seed = 0; seed < 6000; seed++) {
        let pool: readonly PooledSample[] = [];
        for (let epoch = 0; epoch < epochs; epoch++)
          for (let at = 0; at < rows.length; at += 2) pool = offerSamples(pool, rows.slice(at, at + 2), 4, seed);
        for (const { row } of pool) kept[rows.indexOf(row)]!++;
      }
      // Four of twelve samples: each with probability 1/3. χ² has 11 degrees of freedom at most: its mean is 11, its
      // standard deviation √22. Five standard deviations.
      const squares = kept.reduce((sum, count) => sum + (count - 2000) ** 2 / (6000 * (1 / 3) * (2 / 3)), 0);
      expect(squares, `${epochs} epochs`).toBeLessThan(11 + 5 * Math.sqrt(22));
    }
  });
});

/** Equal rows, and rows with random labels, which are hard to learn. */
const easy: Row = { ids: [1, 2, 3, 4, 5, 6], supervised: [false, false, true, true, true, true] };
const mixture: readonly Row[] = [
  ...Array.from({ length: 12 }, (_, index) => ({
    ...easy,
    ids: [...easy.ids, 10 + index],
    supervised: [...easy.supervised, false],
  })),
  ...randomRows(4, tinyLlama.vocab_size, 8),
];
const isHard = (ids: readonly number[]): boolean => ids[0] !== 1 || ids[1] !== 2;

describe('hard samples in a run', () => {
  it('are repeated within the configured share of each batch', async () => {
    const seen: Batch[] = [];
    const watch: Callback = { transformBatch: (batch) => (seen.push(batch), batch) };
    const run = testRun({
      companions: [hardSamplesStrategy({ ratio: 0.25, everyBatches: 4, ignoreHardest: 0 })],
      callbacks: [watch],
      trainData: batchSourceOf(mixture, 4),
      training: { numTrainEpochs: 10 },
    });
    await train(run);
    disposeRun(run);
    const extra = seen.flatMap((batch) =>
      samplesOf(batch)
        .slice(4)
        .map(({ ids }) => [...ids]),
    );
    // Ratio 1/4: the expected number is one for every three samples of the batch, after the first measurement (four of
    // forty batches).
    expect(Math.max(...seen.map(({ samples }) => samples))).toBeLessThanOrEqual(6);
    expect(extra.length / (36 * 4)).toBeGreaterThan(0.25);
    expect(extra.length / (36 * 4)).toBeLessThan(0.4);
    // Four of sixteen samples are hard: with equal probabilities they would be a quarter.
    expect(extra.filter(isHard).length / extra.length).toBeGreaterThan(0.4);
  }, 300_000);

  it('are the same if the run is resumed between two measurements', async () => {
    const options = (outputFolder: string, more: object = {}): Parameters<typeof testRun>[0] => ({
      outputFolder,
      strategy: loraStrategy({ rank: 2 }),
      companions: [hardSamplesStrategy({ ratio: 0.4, everyBatches: 3, poolSize: 5 })],
      trainData: shuffledSource(7, 2),
      training: { maxSteps: 12, gradientAccumulationSteps: 2, saveStrategy: 'steps', saveSteps: 5, ...more },
    });
    const losses = async (run: ReturnType<typeof testRun>, until = Infinity): Promise<number[]> => {
      const all: number[] = [];
      for await (const { loss, step } of runTraining(run)) {
        all.push(loss);
        if (step === until) break;
      }
      disposeRun(run);
      return all;
    };
    const [whole, cut] = [await temporaryFolder(), await temporaryFolder()];
    const expected = await losses(testRun(options(whole)));
    await losses(testRun(options(cut)), 6);
    expect(await losses(testRun(options(cut, { resumeFromCheckpoint: true })))).toEqual(expected.slice(5));
    expect(await readFile(join(cut, 'adapter', 'adapter_model.safetensors'))).toEqual(
      await readFile(join(whole, 'adapter', 'adapter_model.safetensors')),
    );
    expect(expected).not.toEqual(await losses(testRun({ ...options(await temporaryFolder()), companions: [] })));
  }, 300_000);
});
