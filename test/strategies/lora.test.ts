import * as tf from '@tensorflow/tfjs-core';
import '@whetstone/core/tfjs-gradients';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Attachment, Json, LanguageModel, StrategyRun, AdapterFiles } from '@whetstone/core/contract';
import { createAdamW } from '@whetstone/core/optimizers';
import { createRandomModel } from '@whetstone/models';
import { adapterFromMlx, isMlxConfig } from '../../packages/strategies/src/adapters/mlx.js';
import { adapterToMlx } from '../support/adapter-to-mlx.js';
import { loadAdapter, mergeAdapter } from '@whetstone/strategies';
import { loraStrategy } from '../../packages/strategies/src/lora/lora.js';
import type { LoraOptions } from '../../packages/strategies/src/lora/options.js';
import { batchOf, randomRows } from '@whetstone/testing';
import { useBackend } from '../support/backend.js';
import { expectNoLeak } from '../support/model-numbers.js';

const run: StrategyRun = { seed: 3, totalSteps: 1, modelFolder: 'base' };
const config = {
  model_type: 'llama',
  vocab_size: 24,
  hidden_size: 32,
  intermediate_size: 40,
  num_hidden_layers: 3,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  max_position_embeddings: 32,
  rms_norm_eps: 1e-5,
  initializer_range: 0.2,
};

describe('lora', () => {
  let model: LanguageModel;
  beforeAll(async () => {
    await useBackend('cpu');
    model = createRandomModel(config, 1);
  });
  afterAll(() => model.dispose());

  const attach = (options: Partial<LoraOptions>): Attachment => loraStrategy(options).attach(model, run) as Attachment;
  const logits = (): Float32Array =>
    tf.tidy(() => Float32Array.from(model.logits(batchOf(randomRows(4, 24, 5)), 'all').dataSync()));
  /** Assigns random values to all trained matrices, so that the adapter has an effect. */
  const fill = (attachment: Attachment, seed: number): void => {
    for (const [index, variable] of [...attachment.trainable.values()].entries()) {
      const values = tf.randomNormal(variable.shape, 0, 0.2, 'float32', seed + index);
      variable.assign(values as tf.Tensor);
      values.dispose();
    }
  };
  const exported = (attachment: Attachment): AdapterFiles => {
    const { config: adapterConfig, tensors } = attachment.exportAdapter?.() ?? {
      config: null,
      tensors: new Map<string, tf.Tensor>(),
    };
    return { config: adapterConfig, tensors: new Map([...tensors].map(([name, tensor]) => [name, tensor.clone()])) };
  };
  const modules = (options: Partial<LoraOptions>): string[] => {
    const attachment = attach(options);
    const found = [
      ...new Set(
        [...attachment.trainable.keys()].map((key) =>
          key.replace('base_model.model.', '').replace(/\.lora_[AB]\.weight$/, ''),
        ),
      ),
    ];
    attachment.dispose();
    return found;
  };

  it('selects the same targets as PEFT', () => {
    expect(modules({})).toHaveLength(7 * 3);
    expect(modules({})).not.toContain('lm_head');
    expect(modules({ targetModules: ['q_proj'] })).toEqual(
      [0, 1, 2].map((layer) => `model.layers.${layer}.self_attn.q_proj`),
    );
    expect(modules({ targetModules: ['self_attn.q_proj', 'model.layers.1.mlp.up_proj', 'lm_head'] })).toHaveLength(5);
    expect(modules({ targetModules: '.*layers\\.[12]\\..*(k|v)_proj' })).toHaveLength(4);
    expect(modules({ targetModules: ['q_proj', 'k_proj'], layersToTransform: [0, 2] })).toHaveLength(4);
    expect(modules({ targetModules: ['q_proj'], layersToTransform: 1, layersPattern: 'layers' })).toEqual([
      'model.layers.1.self_attn.q_proj',
    ]);
    expect(modules({ excludeModules: ['mlp.up_proj', 'model.layers.0.self_attn.q_proj'] })).toHaveLength(21 - 4);
  });

  it('lists existing names and a suggestion if a target matches nothing', () => {
    expect(() => attach({ targetModules: ['q_porj', 'v_proj'] })).toThrow(
      expect.objectContaining({
        code: 'STRATEGY_TARGETS_NOTHING',
        expected: expect.stringContaining('down_proj'),
        problems: [expect.objectContaining({ found: 'q_porj', hint: "Did you mean 'q_proj'?" })],
      }),
    );
    expect(() => attach({ targetModules: ['q_proj'], layersToTransform: 9 })).toThrow(
      expect.objectContaining({ code: 'STRATEGY_TARGETS_NOTHING' }),
    );
  });

  it('starts dropout in a run that resumes from one without it', () => {
    const before = attach({ rank: 4, targetModules: ['q_proj'] });
    const state = before.saveState();
    before.dispose();
    const after = attach({ rank: 4, dropout: 0.4, targetModules: ['q_proj'] });
    expect(() => after.loadState(state)).not.toThrow();
    after.dispose();
  });

  it("applies dropout to the adapter's input in training and restores its generator", async () => {
    await expectNoLeak(() => {
      const attachment = attach({ rank: 4, dropout: 0.4, targetModules: ['q_proj'] });
      fill(attachment, 1);
      const evaluated = logits();
      expect(logits(), 'outside of training nothing is dropped').toEqual(evaluated);
      model.training = true;
      const state = JSON.parse(JSON.stringify(attachment.saveState().values)) as Json;
      const [first, second] = [logits(), logits()];
      expect(first).not.toEqual(evaluated);
      expect(second).not.toEqual(first);
      attachment.loadState({ tensors: new Map(), values: state });
      expect([logits(), logits()]).toEqual([first, second]);
      // The mean over many masks equals the result without dropout (to first order: the queries of one layer).
      const site = model.linearSites.get('model.layers.0.self_attn.q_proj') as unknown as {
        forward(input: tf.Tensor2D): tf.Tensor2D;
      };
      const input = tf.ones([2000, 32]) as tf.Tensor2D;
      const means = (): Float32Array => tf.tidy(() => Float32Array.from(tf.mean(site.forward(input), 0).dataSync()));
      const dropped = means();
      model.training = false;
      const whole = means();
      const scale = Math.max(...whole.map(Math.abs));
      for (const [index, value] of whole.entries())
        expect(Math.abs((dropped[index] ?? NaN) - value)).toBeLessThan(0.1 * scale);
      input.dispose();
      attachment.dispose();
    });
  });

  it('applies the ratio of LoRA+ to B and vectors, as PEFT does', async () => {
    await expectNoLeak(() => {
      const attachment = attach({
        loraPlusRatio: 16,
        useDora: true,
        targetModules: ['q_proj'],
        modulesToSave: ['norm', 'lm_head'],
      });
      const before = new Map(
        [...attachment.trainable].map(([name, variable]) => [name, Float32Array.from(variable.dataSync())]),
      );
      const optimizer = createAdamW({ weightDecay: 0, adamBeta1: 0.9, adamBeta2: 0.999, adamEpsilon: 1e-8 });
      const gradients = new Map(
        [...attachment.trainable].map(([name, { shape }]) => [name, tf.fill(shape, 0.3) as tf.Tensor]),
      );
      const rate = 1e-3;
      optimizer.apply(attachment.trainable, gradients, {
        update: 1,
        learningRate: rate,
        learningRateScale: (name) => attachment.learningRateScale?.(name) ?? 1,
        decays: () => false,
      });
      // Adam's first step is the learning rate times the sign of the gradient.
      const groups: Record<string, number> = {
        lora_A: 1,
        lora_B: 16,
        lora_magnitude_vector: 16,
        'model.norm': 16,
        lm_head: 1,
      };
      for (const [name, variable] of attachment.trainable) {
        const group = Object.keys(groups).find((part) => name.includes(part)) ?? '';
        const after = variable.dataSync();
        for (const [index, value] of (before.get(name) ?? new Float32Array()).entries())
          expect(value - (after[index] ?? NaN), name).toBeCloseTo(rate * (groups[group] ?? NaN), 5);
      }
      tf.dispose([...gradients.values()]);
      optimizer.dispose();
      attachment.dispose();
    });
  });

  it('switches between adapters of one base without reading files', async () => {
    await expectNoLeak(async () => {
      const base = logits();
      const load = async (seed: number) => {
        const attachment = attach({ rank: 2, modulesToSave: ['lm_head'] });
        fill(attachment, seed * 100);
        const expected = logits();
        const files = exported(attachment);
        attachment.dispose();
        const adapter = await loadAdapter(model, files);
        adapter.setActive(false);
        tf.dispose([...files.tensors.values()]);
        return { adapter, expected };
      };
      const adapters = [await load(1), await load(2)];
      expect(logits()).toEqual(base);
      for (const { adapter, expected } of [...adapters, ...adapters]) {
        adapter.setActive(true);
        expect(logits()).toEqual(expected);
        adapter.setActive(false);
        expect(logits()).toEqual(base);
      }
      for (const { adapter } of adapters) adapter.dispose();
    });
  });

  it('exports PiSSA as LoRA on the original weights', async () => {
    for (const useRslora of [false, true]) {
      await expectNoLeak(async () => {
        const attachment = attach({
          rank: 3,
          alpha: 6,
          initLoraWeights: 'pissa',
          targetModules: ['v_proj', 'up_proj'],
          useRslora,
          rankPattern: { up_proj: 2 },
        });
        fill(attachment, 9);
        const trained = logits();
        const files = exported(attachment);
        attachment.dispose();
        expect(files.config).toMatchObject({ r: 6, rank_pattern: { up_proj: 4 }, init_lora_weights: true });
        const adapter = await loadAdapter(model, files);
        const loaded = logits();
        expect(Math.max(...loaded.map((value, index) => Math.abs(value - (trained[index] ?? NaN))))).toBeLessThan(1e-4);
        adapter.dispose();
        tf.dispose([...files.tensors.values()]);
      });
    }
  });

  it("converts to mlx-lm's format and back", async () => {
    await expectNoLeak(async () => {
      const attachment = attach({ rank: 3, alpha: 6, targetModules: ['q_proj', 'up_proj'] });
      fill(attachment, 4);
      const trained = logits();
      const files = exported(attachment);
      attachment.dispose();
      const mlx = adapterToMlx(model, files);
      expect(isMlxConfig(mlx.config)).toBe(true);
      expect(isMlxConfig(files.config)).toBe(false);
      expect(mlx.config).toMatchObject({
        fine_tune_type: 'lora',
        lora_parameters: { rank: 3, scale: 2, keys: ['self_attn.q_proj', 'mlp.up_proj'] },
      });
      expect(mlx.tensors.get('model.layers.2.mlp.up_proj.lora_a')?.shape).toEqual([32, 3]);
      expect(mlx.tensors.get('model.layers.2.mlp.up_proj.lora_b')?.shape).toEqual([3, 40]);
      const back = adapterFromMlx(mlx);
      const adapter = await loadAdapter(model, back);
      expect(logits()).toEqual(trained);
      adapter.dispose();
      tf.dispose([...files.tensors.values(), ...mlx.tensors.values(), ...back.tensors.values()]);

      const whole = attach({ rank: 2, targetModules: ['q_proj'], modulesToSave: ['lm_head'] });
      const wholeFiles = exported(whole);
      whole.dispose();
      expect(() => adapterToMlx(model, wholeFiles)).toThrow(
        expect.objectContaining({ code: 'ADAPTER_INVALID', found: 'base_model.model.lm_head.weight' }),
      );
      expect(() =>
        adapterFromMlx({ config: { fine_tune_type: 'full', lora_parameters: {} }, tensors: new Map() }),
      ).toThrow(expect.objectContaining({ code: 'ADAPTER_INVALID', found: 'full' }));
      tf.dispose([...wholeFiles.tensors.values()]);
    });
  });

  it('rejects an adapter that does not match the model and lists all problems', async () => {
    const attachment = attach({ rank: 2, targetModules: ['q_proj'] });
    const files = exported(attachment);
    attachment.dispose();
    await expectNoLeak(async () => {
      const key = (layer: number, part: string): string =>
        `base_model.model.model.layers.${layer}.self_attn.q_proj.lora_${part}.weight`;
      const broken = new Map(files.tensors);
      broken.delete(key(0, 'B'));
      const [misshapen, foreign] = [tf.zeros([2, 5]), tf.zeros([2, 2])];
      broken.set(key(1, 'A'), misshapen);
      await expect(loadAdapter(model, { ...files, tensors: broken })).rejects.toThrow(
        expect.objectContaining({
          code: 'ADAPTER_INVALID',
          problems: [
            expect.objectContaining({
              place: { file: 'adapter_model.safetensors', tensor: key(0, 'B') },
              expected: '[32, 2]',
            }),
            expect.objectContaining({
              place: { file: 'adapter_model.safetensors', tensor: key(1, 'A') },
              expected: '[2, 32]',
              found: '[2, 5]',
            }),
          ],
        }),
      );
      broken.set('base_model.model.model.layers.7.self_attn.q_proj.lora_A.weight', foreign);
      await expect(mergeAdapter(model, { ...files, tensors: broken })).rejects.toThrow(/does not match the model/);
      const changed = (fields: object): AdapterFiles => ({
        ...files,
        config: { ...(files.config as object), ...fields } as Json,
      });
      await expect(loadAdapter(model, changed({ peft_type: 'LOHA' }))).rejects.toThrow(
        expect.objectContaining({ code: 'ADAPTER_INVALID', found: 'LOHA' }),
      );
      await expect(loadAdapter(model, changed({ r: 'two', use_qalora: true }))).rejects.toThrow(
        expect.objectContaining({
          problems: expect.arrayContaining([
            expect.objectContaining({ expected: 'a number' }),
            expect.objectContaining({ message: 'use_qalora is not supported.' }),
          ]),
        }),
      );
      await expect(loadAdapter(model, { config: null, tensors: new Map() })).rejects.toThrow(/not an object/);
      tf.dispose([misshapen, foreign]);
    });
    tf.dispose([...files.tensors.values()]);
  });
});
