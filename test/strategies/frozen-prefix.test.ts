import * as tf from '@tensorflow/tfjs-core';
import '@whetstone/core/tfjs-gradients';
import { afterEach, describe, expect, it } from 'vitest';
import type { Batch, LanguageModel, StepReport } from '@whetstone/core/contract';
import { createRandomModel } from '@whetstone/models';
import { frozenLayersStrategy } from '../../packages/strategies/src/frozen-layers/frozen-layers.js';
import type { FrozenLayersOptions } from '../../packages/strategies/src/frozen-layers/options.js';
import { loraStrategy } from '../../packages/strategies/src/lora/lora.js';
import { batchOf, randomRows, supervisedOf } from '@whetstone/testing';
import { testBackends, useBackend } from '../support/backend.js';
import { disposeRun, shuffledSource, testRun, tinyLlama, train } from '../support/training.js';

const model = (): LanguageModel => createRandomModel({ ...tinyLlama, num_hidden_layers: 4 }, 5);
const epochs = 3;

async function run(options: Partial<FrozenLayersOptions>, log: string[] = []): Promise<readonly StepReport[]> {
  const logger = { debug() {}, info: (message: string) => void log.push(message), warn() {}, error() {} };
  const composed = testRun({
    model: model(),
    strategy: frozenLayersStrategy({ ...options, logger }),
    trainData: shuffledSource(12, 3),
    evalData: shuffledSource(4, 2, 77),
    training: { numTrainEpochs: epochs, evalStrategy: 'epoch' },
  });
  const { reports } = await train(composed);
  disposeRun(composed);
  return reports;
}
const losses = (reports: readonly StepReport[]): number[] => reports.map(({ loss }) => loss);

describe('layers below the first trained layer', () => {
  afterEach(() => useBackend('cpu'));

  it('are cached across epochs, with bitwise equal losses', async () => {
    await useBackend('cpu');
    const log: string[] = [];
    const cached = await run({ trainLastLayers: 1, cacheFrozenPrefix: true }, log);
    expect(losses(cached)).toEqual(losses(await run({ trainLastLayers: 1 })));
    // Training and evaluation compute every token once; all later epochs read them from the cache.
    const perEpoch = cached.slice(0, 4).reduce((sum, { tokens }) => sum + tokens, 0);
    expect(cached.slice(0, 5).map(({ metrics }) => metrics['cachedTokens'])).toEqual([0, 0, 0, 0, 0]);
    const lastStepTokens = cached.at(-1)?.tokens ?? 0;
    const evaluated = shuffledSource(4, 2, 77).summary.tokens;
    expect(cached.at(-1)?.metrics['cachedTokens']).toBe((epochs - 1) * perEpoch - lastStepTokens + evaluated);
    expect(log).toEqual([
      expect.stringMatching(/of \d+ tokens \(\d+\.\d %\) were not computed again.*16 samples cached/),
    ]);
  });

  it('are cached within the limits of memory and disk, with equal losses', async () => {
    await useBackend('cpu');
    const expected = losses(await run({ trainLastLayers: 1 }));
    // 16 features of 4 bytes: a sample of 5 to 9 tokens takes 320 to 576 bytes.
    const kilobytes = 1 / 1024;
    for (const [limits, samples] of [
      [{ maxMemoryMegabytes: 2 * kilobytes }, [3, 6]],
      [{ maxMemoryMegabytes: 2 * kilobytes, maxDiskMegabytes: 2 * kilobytes }, [6, 12]],
      [{ maxMemoryMegabytes: 0, maxDiskMegabytes: 1 }, [16, 16]],
      [{ maxMemoryMegabytes: 0 }, [0, 0]],
    ] as const) {
      const log: string[] = [];
      expect(losses(await run({ trainLastLayers: 1, cacheFrozenPrefix: limits }, log)), JSON.stringify(limits)).toEqual(
        expected,
      );
      const kept = Number(/(\d+) samples cached/.exec(log[0] ?? '')?.[1]);
      expect(kept).toBeGreaterThanOrEqual(samples[0]);
      expect(kept).toBeLessThanOrEqual(samples[1]);
    }
  });

  it('are computed again if nothing can be stored on disk, with equal losses and one warning', async () => {
    await useBackend('cpu');
    const expected = losses(await run({ trainLastLayers: 1 }));
    const { TMPDIR, TEMP } = process.env;
    const warnings: string[] = [];
    const listen = ({ message }: Error): void => void warnings.push(message);
    process.on('warning', listen);
    try {
      process.env['TMPDIR'] = process.env['TEMP'] = '/nonexistent/folder';
      const limits = { maxMemoryMegabytes: 0, maxDiskMegabytes: 1 };
      expect(losses(await run({ trainLastLayers: 1, cacheFrozenPrefix: limits }))).toEqual(expected);
      await new Promise((resolve) => setImmediate(resolve));
    } finally {
      process.off('warning', listen);
      for (const [name, value] of Object.entries({ TMPDIR, TEMP })) {
        if (value === undefined) delete process.env[name];
        else process.env[name] = value;
      }
    }
    expect(warnings.filter((message) => message.includes('stores no more states on disk'))).toHaveLength(1);
  });

  it('are removed from the cache if gradual unfreezing moves the boundary', async () => {
    await useBackend('cpu');
    const options = { trainLastLayers: 3, unfreezeEverySteps: 5 };
    const cached = await run({ ...options, cacheFrozenPrefix: true });
    expect(losses(cached)).toEqual(losses(await run(options)));
    const tokens = cached.map(({ metrics }) => metrics['cachedTokens'] ?? NaN);
    // The cache is empty at steps 5 and 10, although earlier steps read from it.
    expect(tokens[5]).toBeGreaterThan(tokens[4] ?? NaN);
    expect(tokens[6]).toBe(tokens[5]);
  });

  it('recognises documents at any position of packed rows', async () => {
    await useBackend('cpu');
    const lone = batchOf(randomRows(2, 48, 8));
    const [one, other] = [0, 1].map((row) => {
      const length = lone.segmentIds
        .subarray(row * lone.length, (row + 1) * lone.length)
        .reduce((sum, segment) => sum + segment, 0);
      const cut = (values: Int32Array): number[] =>
        Array.from(values.subarray(row * lone.length, row * lone.length + length));
      return { ids: cut(lone.ids), labels: cut(lone.labels), positions: cut(lone.positionIds) };
    });
    if (one === undefined || other === undefined) throw new Error('two rows');
    const packed: Batch = {
      ...lone,
      rows: 1,
      length: one.ids.length + other.ids.length,
      ids: Int32Array.from([...other.ids, ...one.ids]),
      labels: Int32Array.from([...other.labels, ...one.labels]),
      positionIds: Int32Array.from([...other.positions, ...one.positions]),
      segmentIds: Int32Array.from([...other.ids.map(() => 1), ...one.ids.map(() => 2)]),
    };
    const small = model();
    const hidden = (): number[] => tf.tidy(() => [...small.hiddenStates(packed, 'all').dataSync()]);
    const expected = hidden();
    const attachment = await frozenLayersStrategy({ trainLastLayers: 1, cacheFrozenPrefix: true }).attach(small, {
      seed: 1,
      totalSteps: 1,
      modelFolder: null,
    });
    tf.tidy(() => void small.hiddenStates(lone, 'all'));
    const recorded: Record<string, unknown> = {};
    expect(hidden()).toEqual(expected);
    attachment.beforeStep?.({ step: 0, record: (name, value) => void (recorded[name] = value) });
    expect(recorded['cachedTokens']).toBe(packed.length);
    attachment.dispose();
    small.dispose();
  });

  it('are not recorded for gradients', async () => {
    await useBackend('cpu');
    const small = model();
    const batch = batchOf(randomRows(2, 48, 4));
    const { positions } = supervisedOf(batch);
    const recordedKernels = (): string[] => {
      let names: string[] = [];
      const { value, grads } = tf.engine().gradients(() => {
        const loss = tf.sum(small.logits(batch, positions)) as tf.Scalar;
        names = tf.engine().state.activeTape.map((node) => node.kernelName);
        return loss;
      }, [small.parameters.get('model.layers.3.mlp.down_proj.weight') as tf.Variable]);
      tf.dispose([value, ...grads]);
      return names;
    };
    const run1 = { seed: 1, totalSteps: 1, modelFolder: null };
    const products = (names: readonly string[]): number => names.filter((name) => name === 'BatchMatMul').length;
    const everything = products(recordedKernels());
    const last = await frozenLayersStrategy({ trainLastLayers: 1 }).attach(small, run1);
    // A decoder layer has seven linear layers; those of three layers are not on the tape.
    expect(everything - products(recordedKernels())).toBeGreaterThanOrEqual(3 * 7);
    last.dispose();
    expect(products(recordedKernels())).toBe(everything);
    const adapter = await loraStrategy({ rank: 2, layersToTransform: [3], targetModules: ['down_proj'] }).attach(
      small,
      run1,
    );
    expect(everything - products(recordedKernels())).toBeGreaterThanOrEqual(3 * 7);
    adapter.dispose();
    // With trained embeddings, no layer is frozen.
    const embeddings = await frozenLayersStrategy({ trainLastLayers: 1, embeddings: true }).attach(small, run1);
    expect(products(recordedKernels())).toBe(everything);
    embeddings.dispose();
    small.dispose();
  });

  it('cannot be cached if no layer is frozen', async () => {
    const small = model();
    const run1 = { seed: 1, totalSteps: 1, modelFolder: null };
    for (const options of [{ embeddings: true }, { trainLastLayers: 4 }]) {
      const strategy = frozenLayersStrategy({ ...options, cacheFrozenPrefix: true });
      expect(() => strategy.attach(small, run1)).toThrow(expect.objectContaining({ code: 'CONFIG_CONFLICT' }));
      expect(() => strategy.plan?.(small, null)).toThrow(expect.objectContaining({ code: 'CONFIG_CONFLICT' }));
    }
    small.dispose();
  });
});

const native = (await testBackends()).filter((name) => name !== 'cpu');
describe.each(native)('on %s', (backend) => {
  it('losses equal those without a cache within rounding', async () => {
    await useBackend(backend);
    const plain = losses(await run({ trainLastLayers: 1 }));
    expect(plain.length).toBeGreaterThan(0);
    const cached = losses(await run({ trainLastLayers: 1, cacheFrozenPrefix: true }));
    expect(cached).toHaveLength(plain.length);
    for (const [index, loss] of cached.entries())
      expect(Math.abs(loss - (plain[index] ?? NaN))).toBeLessThanOrEqual(2e-6);
    await useBackend('cpu');
  });
});
