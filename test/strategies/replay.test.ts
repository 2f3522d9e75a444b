import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import '@whetstone/core/tfjs-gradients';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  IGNORED_LABEL,
  type Attachment,
  type Batch,
  type BatchSource,
  type LanguageModel,
  type StrategyRun,
} from '@whetstone/core/contract';
import { createRandomModel } from '@whetstone/models';
import { fullStrategy } from '../../packages/strategies/src/full/full.js';
import type { ReplayOptions } from '../../packages/strategies/src/replay/options.js';
import { replayStrategy } from '../../packages/strategies/src/replay/replay.js';
import { batchSourceOf, randomRows, supervisedOf } from '@whetstone/testing';
import * as tf from '@tensorflow/tfjs-core';
import { createRandom } from '@whetstone/core/random';
import { emptyBuffer, offerRows } from '../../packages/strategies/src/replay/buffer.js';
import { rowsOf } from '../../packages/strategies/src/replay/rows.js';
import { useBackend } from '../support/backend.js';

const vocabularySize = 24;
const fresh = batchSourceOf(randomRows(400, vocabularySize, 1), 8);
const old = batchSourceOf(randomRows(50, vocabularySize, 2), 8);

async function play(source: BatchSource, epoch: number, skip = 0): Promise<Batch[]> {
  const batches: Batch[] = [];
  for await (const batch of source.epoch(epoch, { skip })) batches.push(batch);
  return batches;
}

describe('replay', () => {
  let model: LanguageModel;
  let owner: Attachment;
  let folder = '';
  const attach = (options: ReplayOptions, seed = 3): Promise<Attachment> => {
    const run: StrategyRun = { seed, totalSteps: 1, modelFolder: null, owner };
    return Promise.resolve(replayStrategy(options).attach(model, run));
  };
  const mixture = async (options: ReplayOptions, seed = 3): Promise<BatchSource> =>
    (await attach(options, seed)).wrapData?.(fresh) ?? fresh;

  beforeAll(async () => {
    await useBackend('cpu');
    model = createRandomModel(
      {
        model_type: 'llama',
        vocab_size: vocabularySize,
        hidden_size: 8,
        intermediate_size: 8,
        num_hidden_layers: 1,
        num_attention_heads: 2,
        num_key_value_heads: 2,
        max_position_embeddings: 32,
        rms_norm_eps: 1e-5,
      },
      1,
    );
    owner = await fullStrategy().attach(model, { seed: 1, totalSteps: 1, modelFolder: null });
    folder = mkdtempSync(join(tmpdir(), 'whetstone-replay-'));
  });
  afterAll(() => {
    owner.dispose();
    model.dispose();
    rmSync(folder, { recursive: true });
  });

  it.each(['sample', 'token'] as const)('replays the configured share per %s', async (unit) => {
    const [plain, mixed] = [await play(fresh, 0), await play(await mixture({ ratio: 0.25, unit, batches: old }), 0)];
    const count = (batches: readonly Batch[]): number =>
      batches.reduce((sum, batch) => sum + (unit === 'sample' ? batch.samples : batch.tokens), 0);
    expect(mixed).toHaveLength(plain.length);
    expect(1 - count(plain) / count(mixed)).toBeCloseTo(0.25, 1);
  });

  /** Batches with four samples in each row, as with the default layout. */
  const sharing = (source: BatchSource): BatchSource => ({
    ...source,
    async *epoch(epoch, options) {
      for await (const batch of source.epoch(epoch, options)) {
        const rows = batch.rows / 4;
        yield {
          ...batch,
          rows,
          length: 4 * batch.length,
          segmentIds: batch.segmentIds.map((segment, at) =>
            segment === 0 ? 0 : 1 + (Math.floor(at / batch.length) % 4),
          ),
        };
      }
    },
  });

  it('replays the configured share with packed rows and packs replayed samples', async () => {
    const [plain, source] = [
      await play(sharing(fresh), 0),
      (await attach({ ratio: 0.25, batches: sharing(old) })).wrapData?.(sharing(fresh)) ?? fresh,
    ];
    const mixed = await play(source, 0);
    const count = (batches: readonly Batch[]): number => batches.reduce((sum, batch) => sum + batch.samples, 0);
    expect(1 - count(plain) / count(mixed)).toBeCloseTo(0.25, 1);
    for (const [index, batch] of mixed.entries()) {
      expect(batch.samples).toBe(
        batch.segmentIds.reduce(
          (sum, segment, at) =>
            sum + (segment !== 0 && (at % batch.length === 0 || segment !== batch.segmentIds[at - 1]) ? 1 : 0),
          0,
        ),
      );
      expect(batch.length).toBe(plain[index]?.length);
      expect(batch.tokens).toBe(batch.segmentIds.reduce((sum, segment) => sum + (segment > 0 ? 1 : 0), 0));
      expect(batch.supervisedTokens).toBe(supervisedOf(batch).targets.length);
    }
    const added = mixed.map((batch, index) => ({
      rows: batch.rows - (plain[index]?.rows ?? 0),
      samples: batch.samples - (plain[index]?.samples ?? 0),
    }));
    expect(added.some(({ rows, samples }) => samples > 2 && rows < samples)).toBe(true);
  });

  it('preserves the rows of the batch and counts added samples', async () => {
    const mixed = await play(await mixture({ ratio: 0.5, batches: old }), 0);
    const own = await play(fresh, 0);
    expect(own.length).toBeGreaterThan(0);
    for (const [index, batch] of own.entries()) {
      const whole = mixed[index];
      if (whole === undefined) throw new Error('a batch is missing');
      for (let row = 0; row < batch.rows; row++) {
        const ids = batch.ids.subarray(row * batch.length, (row + 1) * batch.length);
        expect(whole.ids.subarray(row * whole.length, row * whole.length + batch.length)).toEqual(ids);
      }
      expect(whole.tokens).toBe(whole.segmentIds.reduce((sum, segment) => sum + (segment > 0 ? 1 : 0), 0));
      expect(whole.supervisedTokens).toBe(supervisedOf(whole).targets.length);
      expect(whole.labels.every((label, at) => whole.segmentIds[at] !== 0 || label === IGNORED_LABEL)).toBe(true);
    }
  });

  it('resumes exactly, and differs between epochs and seeds', async () => {
    const source = await mixture({ ratio: 0.3, batches: old });
    const whole = await play(source, 1);
    expect(await play(source, 1, 20)).toEqual(whole.slice(20));
    expect(await play(source, 0)).not.toEqual(whole);
    expect(await play(await mixture({ ratio: 0.3, batches: old }, 4), 1)).not.toEqual(whole);
  });

  it('limits the buffer across tasks, and a resumed run replays the same rows', async () => {
    const bufferFile = join(folder, 'buffer.jsonl');
    const options: ReplayOptions = { ratio: 0.3, bufferFile, bufferSize: 30 };
    const first = await attach(options);
    expect(await play(first.wrapData?.(old) ?? old, 0), 'nothing to replay yet').toEqual(await play(old, 0));
    expect(existsSync(bufferFile)).toBe(true);

    const second = await attach(options);
    const mixed = second.wrapData?.(fresh) ?? fresh;
    await play(mixed, 0);
    const state = JSON.parse(JSON.stringify(second.saveState().values));
    expect(state.count).toBe(30);
    const expected = await play(mixed, 1);
    const resumed = await attach(options);
    resumed.loadState({ tensors: new Map(), values: state });
    expect(await play(resumed.wrapData?.(fresh) ?? fresh, 1)).toEqual(expected);
  });

  it('stores the rows of a run that ends in its first epoch, also if it is resumed', async () => {
    const play9 = async (name: string, resumeAt: number | null): Promise<string> => {
      const bufferFile = join(folder, `${name}.jsonl`);
      const options: ReplayOptions = { ratio: 0.3, bufferFile, bufferSize: 20 };
      const run: StrategyRun = { seed: 3, totalSteps: 9, modelFolder: null, owner };
      const steps = async (attachment: Attachment, from: number, to: number): Promise<void> => {
        let step = from;
        for await (const _batch of (attachment.wrapData?.(fresh) ?? fresh).epoch(0, { skip: from })) {
          attachment.beforeStep?.({ step, record: () => {} });
          step++;
          if (step === to) break;
        }
      };
      const strategy = replayStrategy(options);
      const first = await strategy.attach(model, run);
      await steps(first, 0, resumeAt ?? 9);
      if (resumeAt !== null) {
        expect(existsSync(bufferFile), 'nothing is kept of a run that was interrupted').toBe(false);
        const second = await strategy.attach(model, run);
        second.loadState(first.saveState());
        await steps(second, resumeAt, 9);
      }
      return readFileSync(bufferFile, 'utf8');
    };
    const straight = await play9('straight', null);
    // Nine batches of eight rows were offered; the limit is twenty.
    expect(JSON.parse(straight.split('\n')[0] ?? '')).toMatchObject({ offered: 72 });
    expect(straight.trim().split('\n')).toHaveLength(1 + 20);
    expect(await play9('resumed', 4)).toBe(straight);
  });

  it('keeps every offered row with equal probability', () => {
    const rows = Array.from({ length: 200 }, (_, id) => ({
      ids: Int32Array.of(id),
      labels: Int32Array.of(id),
      segmentIds: Int32Array.of(1),
      positionIds: Int32Array.of(0),
    }));
    const kept = new Float64Array(rows.length);
    const rounds = 2000;
    for (let seed = 0; seed < rounds; seed++) {
      const random = createRandom(seed, 'reservoir');
      // Rows are offered in two calls, as for two tasks.
      const buffer = offerRows(offerRows(emptyBuffer, rows.slice(0, 80), 20, random), rows.slice(80), 20, random);
      expect(buffer.rows).toHaveLength(20);
      expect(buffer.offered).toBe(200);
      for (const { ids } of buffer.rows) kept[ids[0] ?? 0] = (kept[ids[0] ?? 0] ?? 0) + 1;
    }
    // 20 of 200: probability 1/10, within five standard deviations.
    const spread = 5 * Math.sqrt((0.1 * 0.9) / rounds);
    for (const count of kept) expect(Math.abs(count / rounds - 0.1)).toBeLessThan(spread);
  });

  it('draws rows by loss with priority `loss`', async () => {
    const attachment = await attach({ ratio: 0.5, priority: 'loss', batches: old });
    const sums = (attachment.saveState().values as { readonly weights: readonly number[] }).weights;
    const weights = sums.map((sum, index) => sum - (sums[index - 1] ?? 0));
    const rows = (await play(old, 0)).flatMap((batch) => rowsOf(batch));
    expect(rows.length).toBeGreaterThan(0);
    expect(weights).toHaveLength(rows.length);
    // The weight of a row is its mean loss, computed here from the softmax of all logits.
    for (const [index, row] of rows.entries()) {
      const batch: Batch = {
        ...row,
        rows: 1,
        length: row.ids.length,
        samples: 1,
        tokens: row.ids.length,
        supervisedTokens: 0,
      };
      const { positions, targets } = supervisedOf(batch);
      const logProbabilities = tf.tidy(() => tf.logSoftmax(model.logits(batch, positions)).arraySync() as number[][]);
      const loss =
        logProbabilities.reduce((sum, line, at) => sum - (line[targets[at] ?? 0] ?? NaN), 0) / targets.length;
      expect(weights[index]).toBeCloseTo(loss, 4);
    }
    const drawn = new Map<string, number>();
    const mixed = attachment.wrapData?.(fresh) ?? fresh;
    let total = 0;
    for (let epoch = 0; epoch < 12; epoch++) {
      const plain = await play(fresh, epoch);
      for (const [at, batch] of (await play(mixed, epoch)).entries()) {
        for (const { ids } of rowsOf(batch).slice(plain[at]?.rows ?? 0)) {
          drawn.set(ids.join(), (drawn.get(ids.join()) ?? 0) + 1);
          total++;
        }
      }
    }
    const whole = sums.at(-1) ?? NaN;
    for (const [index, row] of rows.entries()) {
      const expected = (weights[index] ?? NaN) / whole;
      expect(Math.abs((drawn.get(row.ids.join()) ?? 0) / total - expected)).toBeLessThan(
        5 * Math.sqrt(expected / total),
      );
    }
  });

  it('rejects an invalid buffer and a buffer of another model', async () => {
    const bufferFile = join(folder, 'bad.jsonl');
    writeFileSync(
      bufferFile,
      '{"format":"whetstone-replay","version":1,"offered":1}\n' +
        '{"ids":[1,999],"labels":[1,2],"segmentIds":[1,1],"positionIds":[0,1]}\n',
    );
    await expect(attach({ ratio: 0.1, bufferFile })).rejects.toMatchObject({
      code: 'DATA_UNREADABLE',
      place: { file: bufferFile, line: 2 },
    });
    writeFileSync(bufferFile, '{"ids":[1]}\n');
    await expect(attach({ ratio: 0.1, bufferFile })).rejects.toMatchObject({ code: 'DATA_UNREADABLE' });
  });
});
