import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import '@whetstone/core/tfjs-gradients';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Attachment, Batch, BatchSource, LanguageModel, StrategyRun } from '@whetstone/core/contract';
import { createRandomModel, loadLanguageModel } from '@whetstone/models';
import { consolidationPenalty } from '../../packages/strategies/src/ewc/consolidation.js';
import { diagonalFisher } from '../../packages/strategies/src/ewc/fisher.js';
import { ewcStrategy } from '../../packages/strategies/src/ewc/ewc.js';
import { fullStrategy } from '../../packages/strategies/src/full/full.js';
import { loraStrategy } from '../../packages/strategies/src/lora/lora.js';
import { testBackends, useBackend } from '../support/backend.js';
import { goldenPath, readGolden } from '../support/golden.js';
import { expectNoLeak, largestDifference, readTensorFile, type LabelledRows } from '../support/model-numbers.js';

interface Fixture extends LabelledRows {
  readonly sample_losses: number[];
  readonly lambda: number;
  readonly penalty: number;
  readonly fisher_sum: Record<string, number>;
  readonly penalty_grad_norm: Record<string, number>;
  readonly tolerance: {
    readonly sample_losses_abs: number;
    readonly fisher_rel_to_tensor_max: number;
    readonly penalty_rel: number;
    readonly penalty_grad_norm_rel: number;
  };
}

const run: StrategyRun = { seed: 1, totalSteps: 1, modelFolder: null };

const backends = await testBackends();

describe.each(backends)('elastic weight consolidation equals the reference on %s', (backend) => {
  const fixture = readGolden<Fixture>('ewc', 'golden.json');
  const { tolerance } = fixture;
  let model: LanguageModel;
  let owner: Attachment;
  let folder = '';
  beforeAll(async () => {
    await useBackend(backend);
    model = await loadLanguageModel(goldenPath('models', 'llama'));
    owner = await fullStrategy().attach(model, run);
    folder = mkdtempSync(join(tmpdir(), 'whetstone-ewc-'));
  });
  afterAll(() => {
    owner.dispose();
    model.dispose();
    rmSync(folder, { recursive: true });
  });

  /** Returns each row as a batch without padding. */
  const batches: readonly Batch[] = fixture.input_ids.map((row, index): Batch => {
    const length = fixture.attention_mask[index]?.filter((bit) => bit === 1).length ?? 0;
    return {
      rows: 1,
      length,
      ids: Int32Array.from(row.slice(0, length)),
      labels: Int32Array.from(fixture.labels[index]?.slice(0, length) ?? []),
      segmentIds: new Int32Array(length).fill(1),
      positionIds: Int32Array.from({ length }, (_, position) => position),
      samples: 1,
      tokens: length,
      supervisedTokens: 0,
    };
  });
  const source: BatchSource = {
    batchesPerEpoch: batches.length,
    epoch: () => batches,
    summary: {
      files: [],
      conversations: batches.length,
      unreadable: [],
      truncated: 0,
      withoutTargets: 0,
      tokens: 0,
      supervisedTokens: 0,
      contentHash: 'abc',
    },
  };
  const scalarOf = (make: () => tf.Scalar): number => tf.tidy(() => make().dataSync()[0] ?? NaN);

  it("in each sample's loss and the diagonal of the Fisher information", async () => {
    const reference = await readTensorFile(goldenPath('ewc', 'fisher.safetensors'));
    await expectNoLeak(async () => {
      const losses: number[] = [];
      const fisher = await diagonalFisher(model, owner.trainable, batches, {
        onProgress: ({ loss }) => losses.push(loss),
      });
      expect(largestDifference(losses, fixture.sample_losses)).toBeLessThanOrEqual(tolerance.sample_losses_abs);
      expect([...fisher.keys()].sort()).toEqual([...reference.keys()].sort());
      for (const [name, expected] of reference) {
        const values = expected.dataSync();
        const limit = tolerance.fisher_rel_to_tensor_max * Math.max(...values);
        expect(largestDifference(fisher.get(name)?.dataSync() ?? [], values), name).toBeLessThanOrEqual(limit);
      }
      tf.dispose([...fisher.values()]);
    });
    tf.dispose([...reference.values()]);
  });

  it('in the penalty and its gradient at shifted parameters', async () => {
    const fisher = await readTensorFile(goldenPath('ewc', 'fisher.safetensors'));
    const shifted = await readTensorFile(goldenPath('ewc', 'theta_shifted.safetensors'));
    const sample = await readTensorFile(goldenPath('ewc', 'penalty_grad_sample.safetensors'));
    await expectNoLeak(() => {
      const anchor = new Map([...owner.trainable].map(([name, parameter]) => [name, tf.keep(tf.clone(parameter))]));
      for (const [name, parameter] of owner.trainable) parameter.assign(shifted.get(name) ?? parameter);
      const half = tf.scalar(fixture.lambda / 2);
      const { value, grads } = tf
        .engine()
        .gradients(
          () => consolidationPenalty(owner.trainable, { fisher, anchor }, half),
          [...owner.trainable.values()],
        );
      expect(Math.abs((value.dataSync()[0] ?? NaN) / fixture.penalty - 1)).toBeLessThanOrEqual(tolerance.penalty_rel);
      for (const [index, name] of [...owner.trainable.keys()].entries()) {
        const gradient = grads[index] as tf.Tensor;
        expect(
          Math.abs(scalarOf(() => tf.norm(gradient) as tf.Scalar) / (fixture.penalty_grad_norm[name] ?? NaN) - 1),
          name,
        ).toBeLessThanOrEqual(tolerance.penalty_grad_norm_rel);
        const expected = sample.get(name)?.dataSync();
        if (expected !== undefined)
          expect(largestDifference(gradient.dataSync(), expected), name).toBeLessThanOrEqual(
            2e-4 * Math.max(...expected.map(Math.abs)),
          );
      }
      for (const [name, parameter] of owner.trainable) parameter.assign(anchor.get(name) ?? parameter);
      tf.dispose([value, ...grads, half, ...anchor.values()]);
    });
    tf.dispose([...fisher.values(), ...shifted.values(), ...sample.values()]);
  });

  it('for the effective weights of an untrained LoRA: equal importance for every variant of the adapter', async () => {
    const reference = await readTensorFile(goldenPath('ewc', 'fisher.safetensors'));
    owner.dispose();
    try {
      for (const options of [{}, { useDora: true }, { initLoraWeights: 'pissa' as const }]) {
        await expectNoLeak(async () => {
          const adapter = await loraStrategy({ rank: 2, alpha: 3, modulesToSave: ['norm'], ...options }).attach(
            model,
            run,
          );
          const ewc = await ewcStrategy({ lambda: fixture.lambda, on: 'effective-weights', batches: source }).attach(
            model,
            { ...run, owner: adapter },
          );
          const { tensors } = ewc.saveState();
          const names = [...model.parameters.keys()].filter((name) => /proj\.weight$|^model\.norm\.weight$/.test(name));
          expect([...tensors.keys()].filter((name) => name.startsWith('fisher.')).sort()).toEqual(
            names.map((name) => `fisher.${name}`).sort(),
          );
          for (const name of names) {
            const values = reference.get(name)?.dataSync() ?? new Float32Array();
            expect(
              largestDifference(tensors.get(`fisher.${name}`)?.dataSync() ?? [], values),
              name,
            ).toBeLessThanOrEqual(2 * tolerance.fisher_rel_to_tensor_max * Math.max(...values) + 1e-9);
            expect(
              largestDifference(
                tensors.get(`anchor.${name}`)?.dataSync() ?? [],
                model.parameters.get(name)?.dataSync() ?? [],
              ),
              name,
            ).toBeLessThanOrEqual(2e-6);
          }
          ewc.dispose();
          adapter.dispose();
        });
      }
    } finally {
      owner = await fullStrategy().attach(model, run);
      tf.dispose([...reference.values()]);
    }
  });

  it('for effective weights: λ/2 · Σ F (s·B·A)² if only the adapter changed', async () => {
    await expectNoLeak(async () => {
      const adapter = await loraStrategy({ rank: 2, alpha: 6, targetModules: ['q_proj'] }).attach(model, run);
      const ewc = await ewcStrategy({ lambda: fixture.lambda, on: 'effective-weights', batches: source }).attach(
        model,
        { ...run, owner: adapter },
      );
      for (const [index, variable] of [...adapter.trainable.values()].entries()) {
        const values = tf.randomNormal(variable.shape, 0, 0.3, 'float32', index);
        variable.assign(values);
        values.dispose();
      }
      const { tensors } = ewc.saveState();
      let expected = 0;
      for (let layer = 0; layer < model.layers; layer++) {
        const key = `base_model.model.model.layers.${layer}.self_attn.q_proj`;
        const part = (name: string): Float32Array =>
          adapter.trainable.get(`${key}.${name}.weight`)?.dataSync<'float32'>() ?? new Float32Array();
        const [a, b] = [part('lora_A'), part('lora_B')];
        const fisher = tensors.get(`fisher.model.layers.${layer}.self_attn.q_proj.weight`)?.dataSync() ?? [];
        const inFeatures = a.length / 2;
        for (let index = 0; index < fisher.length; index++) {
          const [row, column] = [Math.floor(index / inFeatures), index % inFeatures];
          // s = alpha ÷ rank = 3
          const moved =
            3 * ((b[2 * row] ?? NaN) * (a[column] ?? NaN) + (b[2 * row + 1] ?? NaN) * (a[inFeatures + column] ?? NaN));
          expected += (fixture.lambda / 2) * (fisher[index] ?? NaN) * moved ** 2;
        }
      }
      expect(expected).toBeGreaterThan(0);
      expect(scalarOf(() => ewc.penalty?.({ step: 0, record: () => {} }) ?? tf.scalar(NaN)) / expected).toBeCloseTo(
        1,
        4,
      );
      ewc.dispose();
      adapter.dispose();
    });
  });

  it.runIf(backend === 'cpu')(
    'rejects a Fisher file of a model with the same shapes and different weights',
    async () => {
      const fisherFile = join(folder, 'other.safetensors');
      const write = await ewcStrategy({ lambda: 1, fisherFile, batches: source }).attach(model, { ...run, owner });
      write.dispose();
      const other = createRandomModel(model.config, 99);
      await expectNoLeak(async () => {
        const ofOther = await fullStrategy().attach(other, run);
        await expect(
          Promise.resolve(ewcStrategy({ lambda: 1, fisherFile }).attach(other, { ...run, owner: ofOther })),
        ).rejects.toMatchObject({ code: 'CHECKPOINT_INVALID', message: expect.stringContaining('different values') });
        ofOther.dispose();
      });
      other.dispose();
    },
  );

  it('in the sum of the Fisher information', async () => {
    const exact = await diagonalFisher(model, owner.trainable, batches);
    const total = (fisher: ReadonlyMap<string, tf.Tensor>): number =>
      [...fisher.values()].reduce((sum, tensor) => sum + scalarOf(() => tf.sum(tensor)), 0);
    const reference = Object.values(fixture.fisher_sum).reduce((sum, value) => sum + value, 0);
    expect(total(exact)).toBeCloseTo(reference, 3);
    tf.dispose([...exact.values()]);
  });

  it.runIf(backend === 'cpu')(
    'stores the information in a file, reuses it, adds another task, and rejects the file of another model',
    async () => {
      const fisherFile = join(folder, 'fisher.safetensors');
      await expectNoLeak(async () => {
        const warnings: string[] = [];
        const warn = (message: string): void => void warnings.push(message);
        const attach = (contentHash: string): Promise<Attachment> =>
          Promise.resolve(
            ewcStrategy({
              lambda: fixture.lambda,
              fisherFile,
              batches: { ...source, summary: { ...source.summary, contentHash } },
            }).attach(model, { ...run, owner, warn }),
          );
        const first = await attach('one');
        const fisherOf = (attachment: Attachment): Float32Array =>
          Float32Array.from(attachment.saveState().tensors.get('fisher.lm_head.weight')?.dataSync() ?? []);
        const once = fisherOf(first);
        const again = await attach('one');
        expect(fisherOf(again)).toEqual(once);
        const second = await attach('two');
        expect(
          largestDifference(
            fisherOf(second),
            once.map((value) => 2 * value),
          ),
        ).toBeLessThanOrEqual(1e-7);
        expect(warnings).toEqual([]);
        const third = await attach('one');
        expect(warnings).toEqual([expect.stringContaining('added a second time')]);
        for (const attachment of [first, again, second, third]) attachment.dispose();
        const gpt2 = await loadLanguageModel(goldenPath('models', 'gpt2'));
        const other = await fullStrategy().attach(gpt2, run);
        await expect(
          Promise.resolve(ewcStrategy({ lambda: 1, fisherFile }).attach(gpt2, { ...run, owner: other })),
        ).rejects.toMatchObject({ code: 'CHECKPOINT_INVALID' });
        other.dispose();
        gpt2.dispose();
      });
    },
  );
});
