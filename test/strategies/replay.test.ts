import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import '@whetstone/core/tfjs-gradients';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { IGNORED_LABEL, type Attachment, type Batch, type BatchSource, type LanguageModel, type StrategyRun } from '@whetstone/core/contract';
import { createRandomModel } from '@whetstone/models';
import { fullStrategy, replayStrategy, type ReplayOptions } from '@whetstone/strategies';
import { batchSourceOf, randomRows, supervisedOf } from '@whetstone/testing';
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
  const mixture = async (options: ReplayOptions, seed = 3): Promise<BatchSource> => (await attach(options, seed)).wrapData?.(fresh) ?? fresh;

  beforeAll(async () => {
    await useBackend('cpu');
    model = createRandomModel({ model_type: 'llama', vocab_size: vocabularySize, hidden_size: 8, intermediate_size: 8, num_hidden_layers: 1, num_attention_heads: 2, num_key_value_heads: 2, max_position_embeddings: 32, rms_norm_eps: 1e-5 }, 1);
    owner = await fullStrategy().attach(model, { seed: 1, totalSteps: 1, modelFolder: null });
    folder = mkdtempSync(join(tmpdir(), 'whetstone-replay-'));
  });
  afterAll(() => {
    owner.dispose();
    model.dispose();
    rmSync(folder, { recursive: true });
  });

  it.each(['sample', 'token'] as const)('replays the asked share by %s', async (unit) => {
    const [plain, mixed] = [await play(fresh, 0), await play(await mixture({ ratio: 0.25, unit, batches: old }), 0)];
    const count = (batches: readonly Batch[]): number => batches.reduce((sum, batch) => sum + (unit === 'sample' ? batch.samples : batch.tokens), 0);
    expect(mixed).toHaveLength(plain.length);
    expect(1 - count(plain) / count(mixed)).toBeCloseTo(0.25, 1);
  });

  it('keeps the batch\'s own rows and counts what it adds', async () => {
    const mixed = await play(await mixture({ ratio: 0.5, batches: old }), 0);
    for (const [index, batch] of (await play(fresh, 0)).entries()) {
      const whole = mixed[index];
      if (whole === undefined) throw new Error('a batch is missing');
      for (let row = 0; row < batch.rows; row += 1) {
        const own = batch.ids.subarray(row * batch.length, (row + 1) * batch.length);
        expect(whole.ids.subarray(row * whole.length, row * whole.length + batch.length)).toEqual(own);
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

  it('keeps a bounded buffer over tasks, and a resumed run replays what it did before', async () => {
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

  it('refuses a buffer that is none, or of another model', async () => {
    const bufferFile = join(folder, 'bad.jsonl');
    writeFileSync(bufferFile, '{"format":"whetstone-replay","version":1,"offered":1}\n{"ids":[1,999],"labels":[1,2],"segmentIds":[1,1],"positionIds":[0,1]}\n');
    await expect(attach({ ratio: 0.1, bufferFile })).rejects.toMatchObject({ code: 'DATA_UNREADABLE', place: { file: bufferFile, line: 2 } });
    writeFileSync(bufferFile, '{"ids":[1]}\n');
    await expect(attach({ ratio: 0.1, bufferFile })).rejects.toMatchObject({ code: 'DATA_UNREADABLE' });
  });
});
