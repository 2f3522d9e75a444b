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
import {
  bufferWithoutKeys,
  emptyBuffer,
  openReservoir,
  type ReplayBuffer,
} from '../../packages/strategies/src/replay/buffer.js';
import { ReplayedRows } from '../../packages/strategies/src/replay/replayed-rows.js';
import { rowsOf, samplesOf, type ReplayRow } from '../../packages/strategies/src/replay/rows.js';
import { useBackend } from '../support/backend.js';
import { temporaryFolder } from '../support/temporary-folder.js';
import { disposeRun, shuffledSource, testRun, train } from '../support/training.js';

const vocabularySize = 24;
/** Batches of random rows with a hash of their own. */
function randomBatches(rows: number, seed: number): BatchSource {
  const source = batchSourceOf(randomRows(rows, vocabularySize, seed), 8);
  return { ...source, summary: { ...source.summary, contentHash: `rows of seed ${seed}` } };
}
const fresh = randomBatches(400, 1);
const old = randomBatches(50, 2);

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

  it('stores the rows of a run that a callback stops in its first epoch, and later those that follow', async () => {
    const bufferFile = join(folder, 'stopped.jsonl');
    const outputFolder = await temporaryFolder();
    const offeredAfter = async (stopAt: number, training: object): Promise<unknown> => {
      const run = testRun({
        outputFolder,
        companions: [replayStrategy({ ratio: 0.3, bufferFile })],
        callbacks: [{ onStep: ({ step }, control) => (step === stopAt ? control.stop('enough') : undefined) }],
        trainData: shuffledSource(12, 4),
        training: { perDeviceTrainBatchSize: 4, saveStrategy: 'end', ...training },
      });
      const tokenizer = { ...run.loaded.tokenizer, decode: (ids: ArrayLike<number>) => String(ids[0]) };
      await train({ ...run, loaded: { ...run.loaded, tokenizer } });
      disposeRun(run);
      const [header = ''] = readFileSync(bufferFile, 'utf8').split('\n');
      return (JSON.parse(header) as { readonly offered: unknown }).offered;
    };
    expect(await offeredAfter(2, {})).toBe(8);
    expect(await offeredAfter(Infinity, { resumeFromCheckpoint: true, resumeDespite: ['stop'] })).toBe(12);
  });

  it.each([
    { before: 4, after: 2, steps: 5 },
    { before: 2, after: 4, steps: 4 },
  ])('stores the rows of a run whose batch size changes from $before to $after', async ({ before, after, steps }) => {
    const bufferFile = join(folder, `changed-${before}.jsonl`);
    const outputFolder = await temporaryFolder();
    /** Trains twelve rows in one epoch, and is interrupted after step `until`. */
    const trainTo = async (until: number, batchSize: number, resumeFromCheckpoint: boolean): Promise<void> => {
      const controller = new AbortController();
      const run = testRun({
        outputFolder,
        companions: [replayStrategy({ ratio: 0.3, bufferFile })],
        callbacks: [{ onStep: ({ step }) => (step === until ? controller.abort() : undefined) }],
        signal: controller.signal,
        trainData: shuffledSource(12, batchSize),
        training: { perDeviceTrainBatchSize: batchSize, resumeFromCheckpoint },
      });
      const tokenizer = { ...run.loaded.tokenizer, decode: (ids: ArrayLike<number>) => String(ids[0]) };
      const done = train({ ...run, loaded: { ...run.loaded, tokenizer } });
      if (until < steps) await expect(done).rejects.toMatchObject({ code: 'INTERRUPTED' });
      else expect((await done).report.steps).toBe(steps);
      disposeRun(run);
    };
    await trainTo(1, before, false);
    await trainTo(steps - 1, after, true);
    expect(existsSync(bufferFile), 'the buffer of a run that has not ended').toBe(false);
    await trainTo(Infinity, after, true);
    const [header = '', ...rows] = readFileSync(bufferFile, 'utf8').trim().split('\n');
    expect(JSON.parse(header)).toMatchObject({ offered: 12 });
    expect(new Set(rows.map((row) => JSON.stringify((JSON.parse(row) as ReplayRow).ids))).size).toBe(12);
  });

  describe('the buffer file of several runs', () => {
    const third = randomBatches(40, 3);

    /** A task whose first epoch writes the file. Returns its batches, the file and the warnings. */
    const runTask = async (
      bufferFile: string,
      source: BatchSource,
      options: ReplayOptions = {},
    ): Promise<{ readonly batches: Batch[]; readonly text: string; readonly warnings: readonly string[] }> => {
      const warnings: string[] = [];
      const run: StrategyRun = {
        seed: 3,
        totalSteps: 99,
        modelFolder: null,
        owner,
        dataHash: source.summary.contentHash,
        warn: (message) => void warnings.push(message),
      };
      const strategy = replayStrategy({ ratio: 0.3, bufferFile, bufferSize: 30, ...options });
      const attachment = await strategy.attach(model, run);
      const batches = await play(attachment.wrapData?.(source) ?? source, 0);
      return { batches, text: readFileSync(bufferFile, 'utf8'), warnings };
    };
    const headerOf = (text: string): unknown => JSON.parse(text.split('\n')[0] ?? '');

    /** The number of samples that the tasks offer: those with target tokens. */
    const offeredBy = async (...sources: readonly BatchSource[]): Promise<number> => {
      const batches = await Promise.all(sources.map((source) => play(source, 0)));
      return batches.flat().flatMap(samplesOf).length;
    };

    it('is the same if the last run is repeated, whose own rows are not replayed', async () => {
      const bufferFile = join(await temporaryFolder(), 'buffer.jsonl');
      await runTask(bufferFile, old);
      // Rows of the first task are dropped for those of the second one, and are there again when it is repeated.
      const once = await runTask(bufferFile, fresh);
      for (let attempt = 0; attempt < 2; attempt++) expect(await runTask(bufferFile, fresh)).toEqual(once);
      expect(headerOf(once.text)).toMatchObject({
        offered: await offeredBy(old, fresh),
        before: { offered: await offeredBy(old) },
      });
    });

    it('is the same if the first run is repeated', async () => {
      const bufferFile = join(await temporaryFolder(), 'buffer.jsonl');
      const once = await runTask(bufferFile, old);
      expect(once.batches, 'nothing to replay').toEqual(await play(old, 0));
      expect(await runTask(bufferFile, old)).toEqual(once);
    });

    it('is the same if the last run is repeated after its checkpoint', async () => {
      const bufferFile = join(await temporaryFolder(), 'buffer.jsonl');
      await runTask(bufferFile, old);
      const run: StrategyRun = { seed: 3, totalSteps: 99, modelFolder: null, owner, dataHash: 'fresh' };
      const strategy = replayStrategy({ ratio: 0.3, bufferFile, bufferSize: 30 });
      const first = await strategy.attach(model, run);
      const values = JSON.parse(JSON.stringify(first.saveState().values));
      const batches = await play(first.wrapData?.(fresh) ?? fresh, 0);
      const text = readFileSync(bufferFile, 'utf8');
      const second = await strategy.attach(model, run);
      second.loadState({ tensors: new Map(), values });
      expect(await play(second.wrapData?.(fresh) ?? fresh, 0)).toEqual(batches);
      expect(readFileSync(bufferFile, 'utf8')).toBe(text);
    });

    it('is the same if the last run is repeated with another size or seed, except for its choice', async () => {
      const bufferFile = join(await temporaryFolder(), 'buffer.jsonl');
      await runTask(bufferFile, old);
      await runTask(bufferFile, fresh, { bufferSize: 5 });
      const { text } = await runTask(bufferFile, fresh);
      const other = join(await temporaryFolder(), 'buffer.jsonl');
      await runTask(other, old);
      expect(text).toBe((await runTask(other, fresh)).text);
    });

    it('takes the rows of `data` once', async () => {
      const bufferFile = join(await temporaryFolder(), 'buffer.jsonl');
      const once = await runTask(bufferFile, fresh, { batches: old });
      expect(headerOf(once.text)).toMatchObject({ offered: await offeredBy(old, fresh) });
      expect(await runTask(bufferFile, fresh, { batches: old })).toEqual(once);
      const next = await runTask(bufferFile, third, { batches: old });
      expect(headerOf(next.text)).toMatchObject({ offered: await offeredBy(old, fresh, third) });
    });

    it('warns about an earlier task before the last one, whose rows are replayed and offered again', async () => {
      const bufferFile = join(await temporaryFolder(), 'buffer.jsonl');
      const warnings: string[] = [];
      for (const source of [old, fresh, old]) warnings.push(...(await runTask(bufferFile, source)).warnings);
      expect(warnings).toEqual([expect.stringContaining('offered a second time')]);
      expect(headerOf(readFileSync(bufferFile, 'utf8'))).toMatchObject({ offered: await offeredBy(old, fresh, old) });
    });

    it('replays all rows of a file of an earlier version, which does not name its tasks', async () => {
      const bufferFile = join(await temporaryFolder(), 'buffer.jsonl');
      const { text } = await runTask(bufferFile, old);
      const [, ...rows] = text.split('\n');
      const { tasks: _tasks, before: _before, ...header } = headerOf(text) as Readonly<Record<string, unknown>>;
      writeFileSync(bufferFile, [JSON.stringify(header), ...rows].join('\n'));
      const { batches } = await runTask(bufferFile, old);
      expect(batches).not.toEqual(await play(old, 0));
    });

    it.each([
      { tasks: [1] },
      { before: {} },
      { before: { task: 'one', tasks: 0, offered: 0, threshold: 1, kept: 31, dropped: [] } },
      {
        before: { task: 'one', tasks: 0, offered: 1, threshold: 1, kept: 0, dropped: [{ key: 0.5, at: 0, ids: [1] }] },
      },
    ])('is refused with the tasks $tasks $before', async (changed) => {
      const bufferFile = join(await temporaryFolder(), 'buffer.jsonl');
      const [head = '', ...rows] = (await runTask(bufferFile, old)).text.split('\n');
      writeFileSync(bufferFile, [JSON.stringify({ ...JSON.parse(head), ...changed }), ...rows].join('\n'));
      await expect(attach({ ratio: 0.1, bufferFile })).rejects.toMatchObject({
        code: 'DATA_UNREADABLE',
        place: { file: bufferFile, line: 1 },
      });
    });
  });

  const rowOf = (id: number): ReplayRow => ({
    ids: Int32Array.of(id),
    labels: Int32Array.of(id),
    segmentIds: Int32Array.of(1),
    positionIds: Int32Array.of(0),
  });
  const idsOf = ({ rows }: ReplayBuffer): number[] => rows.map(({ ids }) => ids[0] ?? NaN);

  it.each([
    { name: 'four tasks', tasks: [32, 32, 32, 32], limits: [16, 16, 16, 16] },
    { name: 'tasks of different sizes', tasks: [8, 80, 40], limits: [16, 16, 16] },
    { name: 'a smaller limit', tasks: [64, 64], limits: [32, 12] },
    { name: 'a larger limit', tasks: [32, 96], limits: [8, 24] },
  ])('keeps every row of $name with equal probability, all with one seed', ({ tasks, limits }) => {
    const total = tasks.reduce((sum, count) => sum + count, 0);
    const kept = new Float64Array(total);
    const rounds = 800;
    let keptInAll = 0;
    for (let seed = 0; seed < rounds; seed++) {
      let buffer = emptyBuffer;
      for (const [task, count] of tasks.entries()) {
        const reservoir = openReservoir(buffer, limits[task] ?? 0, seed);
        reservoir.offer(Array.from({ length: count }, (_, index) => rowOf(buffer.offered + index)));
        buffer = reservoir.buffer();
        expect(buffer.rows.length).toBeLessThanOrEqual(limits[task] ?? 0);
      }
      expect(buffer.offered).toBe(total);
      for (const id of idsOf(buffer)) kept[id] = (kept[id] ?? 0) + 1;
      keptInAll += buffer.rows.length;
    }
    // χ² of the counts: its mean is the degrees of freedom, its variance twice that. Five standard deviations.
    const share = keptInAll / rounds / total;
    const expected = rounds * share;
    const chiSquared = kept.reduce((sum, count) => sum + (count - expected) ** 2 / (expected * (1 - share)), 0);
    const degrees = total - 1;
    expect(chiSquared).toBeLessThan(degrees + 5 * Math.sqrt(2 * degrees));
  });

  it('keeps every row with equal probability after a buffer that was stored without keys', () => {
    const rounds = 1000;
    const kept = [0, 0];
    for (let seed = 0; seed < rounds; seed++) {
      const stored = bufferWithoutKeys(
        Array.from({ length: 10 }, (_, id) => rowOf(id)),
        40 + (seed % 100),
      );
      const reservoir = openReservoir(stored, 10, seed);
      // As many new rows as were offered before: in a uniform sample, half of the rows are new.
      reservoir.offer(Array.from({ length: stored.offered }, () => rowOf(20)));
      for (const id of idsOf(reservoir.buffer())) kept[id < 20 ? 0 : 1] = (kept[id < 20 ? 0 : 1] ?? 0) + 1;
    }
    const [old = 0, later = 0] = kept;
    expect(Math.abs(old / (old + later) - 0.5)).toBeLessThan(5 * Math.sqrt(0.25 / (old + later)));
  });

  it('replays the configured share of tokens with unequal weights', async () => {
    // Short rows with a large weight and long rows with a small one.
    const rows = Array.from({ length: 40 }, (_, index): ReplayRow => {
      const length = index % 2 === 0 ? 4 : 24;
      return {
        ids: new Int32Array(length).fill(1),
        labels: new Int32Array(length).fill(1),
        segmentIds: new Int32Array(length).fill(1),
        positionIds: Int32Array.from({ length }, (_unused, position) => position),
      };
    });
    const buffer = bufferWithoutKeys(rows, rows.length);
    const weights = Float64Array.from(buffer.rows, ({ ids }) => (ids.length === 4 ? 5 : 1));
    const replayed = new ReplayedRows(buffer, weights);
    const resumed = new ReplayedRows(emptyBuffer, null);
    resumed.loadState({ tensors: new Map(), values: JSON.parse(JSON.stringify(replayed.saveState(true).values)) });
    for (const each of [replayed, resumed]) {
      const random = createRandom(1, 'share');
      let [own, all] = [0, 0];
      for (let epoch = 0; epoch < 40; epoch++) {
        for (const batch of await play(fresh, epoch)) {
          own += batch.tokens;
          all += each.mixInto(batch, { ratio: 0.25, unit: 'token' }, random).tokens;
        }
      }
      // A draw has 5/6 × 4 + 1/6 × 24 = 22/3 tokens on average, with the variance 500/9. Five standard deviations.
      const added = own / 3;
      const spread = Math.sqrt((added / (22 / 3)) * (500 / 9));
      expect(Math.abs(all - own - added)).toBeLessThan(5 * spread);
      expect(5 * spread, 'the draws suffice').toBeLessThan(0.1 * added);
    }
  });

  it('holds no more rows than its size, however many are offered', () => {
    const reservoir = openReservoir(emptyBuffer, 5, 1);
    for (let id = 0; id < 500; id++) {
      reservoir.offer([rowOf(id)]);
      expect(reservoir.buffer().rows.length).toBeLessThanOrEqual(5);
    }
    expect(reservoir.buffer()).toMatchObject({ offered: 500 });
  });

  it('rejects a buffer whose token ids stand for other texts', async () => {
    const bufferFile = join(folder, 'tokenizer.jsonl');
    const attachWith = (texts: string): Promise<Attachment> =>
      Promise.resolve(
        replayStrategy({ ratio: 0.3, bufferFile, bufferSize: 30 }).attach(model, {
          seed: 3,
          totalSteps: 1,
          modelFolder: null,
          owner,
          tokenizer: { decode: (ids) => ids.map((id) => texts[id] ?? '').join('') },
        }),
      );
    const letters = 'abcdefghijklmnopqrstuvwxyz';
    const first = await attachWith(letters);
    await play(first.wrapData?.(old) ?? old, 0);
    expect(existsSync(bufferFile)).toBe(true);
    await expect(attachWith(letters), 'the same tokenizer').resolves.toBeDefined();
    await expect(attachWith([...letters].toReversed().join(''))).rejects.toMatchObject({
      code: 'DATA_UNREADABLE',
      message: 'The replay buffer was written with another tokenizer.',
      place: { file: bufferFile },
    });
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
