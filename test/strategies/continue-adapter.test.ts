import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import '@whetstone/core/tfjs-gradients';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createTinyModel, Trainer } from 'whetstone';
import type { LanguageModel, StepReport, Strategy, WeightRole } from '@whetstone/core/contract';
import { writeSafetensors } from '@whetstone/core/safetensors';
import { createRandomModel, loadLanguageModel } from '@whetstone/models';
import { adapterToMlx } from '../support/adapter-to-mlx.js';
import { createAdapterSet, loadAdapter, readAdapterFolder } from '@whetstone/strategies';
import { loraStrategy } from '../../packages/strategies/src/lora/lora.js';
import type { PrefixOptions } from '../../packages/strategies/src/prompt/options.js';
import { prefixStrategy } from '../../packages/strategies/src/prompt/p-tuning-v2.js';
import type { QloraOptions } from '../../packages/strategies/src/qlora/options.js';
import { qloraStrategy } from '../../packages/strategies/src/qlora/qlora.js';
import type { LoraOptions } from '../../packages/strategies/src/lora/options.js';
import { batchOf, randomRows } from '@whetstone/testing';
import { useBackend } from '../support/backend.js';
import { tinyLlama as llama } from '../support/tiny-llama.js';
import { goldenPath } from '../support/golden.js';
import { expectNoLeak } from '../support/model-numbers.js';

const gpt2 = {
  model_type: 'gpt2',
  vocab_size: 24,
  n_embd: 8,
  n_layer: 2,
  n_head: 2,
  n_positions: 32,
  layer_norm_epsilon: 1e-5,
  activation_function: 'gelu_new',
  initializer_range: 0.3,
};
const run = { seed: 1, totalSteps: 1, modelFolder: null };
const batch = batchOf(randomRows(4, 24, 5));
const logitsOf = (model: LanguageModel, input = batch): number[] =>
  tf.tidy(() => [...model.logits(input, 'all').dataSync()]);
const farthest = (one: readonly number[], other: readonly number[]): number =>
  one.reduce((worst, value, index) => Math.max(worst, Math.abs(value - (other[index] ?? NaN))), 0);

let folder = '';
beforeAll(async () => {
  await useBackend('cpu');
  folder = await mkdtemp(join(tmpdir(), 'whetstone-continue-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** Attaches an adapter, changes its parameters and writes its folder. Returns the logits of the changed model. */
async function makeAdapter(
  model: LanguageModel,
  name: string,
  strategy: Strategy,
  layout: 'peft' | 'mlx' = 'peft',
): Promise<{ readonly path: string; readonly logits: number[] }> {
  const attachment = await strategy.attach(model, run);
  for (const [index, variable] of [...attachment.trainable.values()].entries()) {
    const moved = tf.tidy(() => tf.add(variable, tf.randomNormal(variable.shape, 0, 0.1, 'float32', index)));
    variable.assign(moved as tf.Tensor);
    moved.dispose();
  }
  const logits = logitsOf(model);
  const exported = attachment.exportAdapter?.();
  if (exported === undefined) throw new Error('no adapter');
  const files = layout === 'mlx' ? adapterToMlx(model, exported) : exported;
  const path = await mkdtemp(join(folder, `${name}-`));
  await writeFile(join(path, 'adapter_config.json'), JSON.stringify(files.config));
  await writeSafetensors(
    join(path, layout === 'mlx' ? 'adapters.safetensors' : 'adapter_model.safetensors'),
    [...files.tensors].map(([key, tensor]) => ({
      name: key,
      dtype: 'F32' as const,
      shape: tensor.shape,
      data: Float32Array.from(tensor.dataSync()),
    })),
  );
  if (layout === 'mlx') tf.dispose([...files.tensors.values()]);
  attachment.dispose();
  return { path, logits };
}

const loras: Readonly<Record<string, readonly [object, Partial<LoraOptions>]>> = {
  'all linear layers': [llama, { rank: 2, alpha: 5 }],
  'some layers with patterns, rsLoRA and a head': [
    llama,
    {
      rank: 2,
      useRslora: true,
      targetModules: ['q_proj', 'up_proj'],
      layersToTransform: 1,
      rankPattern: { up_proj: 3 },
      alphaPattern: { q_proj: 4 },
      modulesToSave: ['lm_head', 'norm'],
    },
  ],
  'DoRA with biases': [gpt2, { rank: 2, useDora: true, bias: 'lora_only', targetModules: ['c_attn', 'c_proj'] }],
  'a tied head of its own': [gpt2, { rank: 2, targetModules: ['c_fc'], modulesToSave: ['lm_head'], bias: 'all' }],
  'made by PiSSA': [llama, { rank: 2, initLoraWeights: 'pissa', targetModules: ['v_proj'] }],
};

describe('training of an adapter continues', () => {
  it.each(Object.entries(loras))('LoRA: %s', async (name, [config, options]) => {
    const model = createRandomModel(config as Readonly<Record<string, never>>, 3);
    const base = logitsOf(model);
    const made = await makeAdapter(model, name.replaceAll(/\W/g, ''), loraStrategy(options));
    await expectNoLeak(async () => {
      const strategy = loraStrategy({ adapter: made.path });
      const plan = await strategy.plan?.(model, null);
      const attachment = await strategy.attach(model, run);
      expect([...(plan?.trainable.keys() ?? [])]).toEqual([...attachment.trainable.keys()]);
      expect(farthest(logitsOf(model), made.logits)).toBeLessThanOrEqual(1e-5);
      // The adapter that is saved again can be loaded and has the same target modules.
      const exported = attachment.exportAdapter?.();
      if (exported === undefined) throw new Error('no adapter');
      const copy = {
        config: exported.config,
        tensors: new Map([...exported.tensors].map(([key, tensor]) => [key, tensor.clone()])),
      };
      attachment.dispose();
      expect(logitsOf(model)).toEqual(base);
      const loaded = await loadAdapter(model, copy);
      expect(farthest(logitsOf(model), made.logits)).toBeLessThanOrEqual(1e-5);
      loaded.dispose();
      tf.dispose([...copy.tensors.values()]);
    });
    model.dispose();
  });

  it('with a quantised base, which does not change', async () => {
    const model = createRandomModel(llama, 3);
    const shared: Partial<QloraOptions> = {
      quantType: 'fp4',
      modulesToSave: ['model.layers.0.mlp.up_proj'],
      targetModules: ['q_proj', 'v_proj'],
      rank: 2,
    };
    const made = await makeAdapter(model, 'quantised', await qloraStrategy(shared));
    await expectNoLeak(async () => {
      const strategy = await qloraStrategy({ adapter: made.path, quantType: 'fp4' });
      const role = (name: string): WeightRole => ({
        name: `model.layers.0.${name}.weight`,
        kind: 'linear',
        shape: [12, 8],
        fanInFanOut: false,
      });
      expect(strategy.storage?.(role('mlp.up_proj'))).toBeNull();
      expect(strategy.storage?.(role('mlp.gate_proj'))).toBeTypeOf('function');
      const attachment = await strategy.attach(model, run);
      expect(farthest(logitsOf(model), made.logits)).toBeLessThanOrEqual(1e-5);
      expect(attachment.exportAdapter?.().files).toEqual({
        'quantization_config.json': expect.objectContaining({
          bnb_4bit_quant_type: 'fp4',
          llm_int8_skip_modules: ['lm_head', 'model.layers.0.mlp.up_proj'],
        }),
      });
      attachment.dispose();
    });
    model.dispose();
  });

  it('for LoRA of mlx-lm, prefixes and prompts', async () => {
    const model = createRandomModel(llama, 3);
    const prefix: Partial<PrefixOptions> = { virtualTokens: 3 };
    for (const [strategy, on, layout] of [
      [loraStrategy({ rank: 2 }), (adapter: string) => loraStrategy({ adapter }), 'mlx'],
      [prefixStrategy(prefix), (adapter: string) => prefixStrategy({ adapter }), 'peft'],
      [prefixStrategy({ ...prefix, projection: true }), (adapter: string) => prefixStrategy({ adapter }), 'peft'],
      [prefixStrategy({ ...prefix, depth: 'input' }), (adapter: string) => prefixStrategy({ adapter }), 'peft'],
    ] as const) {
      const made = await makeAdapter(model, 'other', strategy, layout);
      await expectNoLeak(async () => {
        const attachment = await on(made.path).attach(model, run);
        expect(farthest(logitsOf(model), made.logits)).toBeLessThanOrEqual(1e-5);
        attachment.dispose();
      });
    }
    model.dispose();
  });

  it.each([
    'lora-llama',
    'rslora-llama',
    'dora-gpt2',
    'lora-patterns-llama',
    'lora-qv-head-gpt2',
    'prefix-llama',
    'prompt-tuning-gpt2',
  ])('for an adapter of PEFT: %s', async (name) => {
    const model = await loadLanguageModel(goldenPath('models', name.endsWith('gpt2') ? 'gpt2' : 'llama'));
    await expectNoLeak(async () => {
      const path = goldenPath('peft', name);
      const files = await readAdapterFolder(path);
      const loaded = await loadAdapter(model, files);
      files.dispose();
      const expected = logitsOf(model);
      loaded.dispose();
      const attachment = await (
        name.startsWith('pr') ? prefixStrategy({ adapter: path }) : loraStrategy({ adapter: path })
      ).attach(model, run);
      expect(farthest(logitsOf(model), expected)).toBeLessThanOrEqual(1e-6);
      attachment.dispose();
    });
    model.dispose();
  });

  it('with a configuration: the second run starts at the end of the first', async () => {
    await createTinyModel(join(folder, 'tiny'), { hiddenSize: 32, layers: 1 });
    await writeFile(
      join(folder, 'train.jsonl'),
      Array.from({ length: 4 }, (_, index) =>
        JSON.stringify({
          messages: [
            { role: 'user', content: `Say ${index}` },
            { role: 'assistant', content: 'yes, yes' },
          ],
        }),
      ).join('\n'),
    );
    const train = async (
      name: string,
      options: object,
    ): Promise<{ readonly first: number; readonly before: number; readonly after: number }> => {
      const trainer = new Trainer(
        {
          model: './tiny',
          backend: 'cpu',
          data: { train: 'train.jsonl', eval: 'train.jsonl', leakage: 'off' },
          strategy: { use: 'lora', options },
          loggers: [],
          optimizer: { learningRate: 0.05 },
          training: { maxSteps: 6, perDeviceTrainBatchSize: 4, saveStrategy: 'no', evalStrategy: 'ends' },
          output: { folder: `runs/${name}` },
        },
        { baseFolder: folder },
      );
      const steps: StepReport[] = [];
      trainer.on('step', (report) => void steps.push(report));
      const { evalLossBefore, evalLossAfter } = await trainer.run();
      return { first: steps[0]?.loss ?? NaN, before: evalLossBefore ?? NaN, after: evalLossAfter ?? NaN };
    };
    const one = await train('one', { rank: 2, alpha: 4, targetModules: ['v_proj', 'up_proj'] });
    const two = await train('two', { adapter: 'runs/one/adapter' });
    expect(one.after).toBeLessThan(one.before);
    expect(two.before).toBeCloseTo(one.after, 5);
    expect(two.after).toBeLessThan(two.before);
    const configOf = async (name: string): Promise<unknown> =>
      JSON.parse(await readFile(join(folder, 'runs', name, 'adapter', 'adapter_config.json'), 'utf8'));
    expect(await configOf('two')).toEqual(await configOf('one'));
  }, 120_000);
});

describe('several adapters of one base', () => {
  it('are activated by name without reading files', async () => {
    const model = createRandomModel(llama, 3);
    const base = logitsOf(model);
    const [first, second] = [
      await makeAdapter(model, 'first', loraStrategy({ rank: 2, modulesToSave: ['norm'] })),
      await makeAdapter(model, 'second', prefixStrategy({ virtualTokens: 2 })),
    ];
    await expectNoLeak(async () => {
      const adapters = createAdapterSet(model);
      for (const [name, { path }] of [
        ['first', first],
        ['second', second],
      ] as const) {
        const files = await readAdapterFolder(path);
        await adapters.add(name, files);
        files.dispose();
      }
      expect([adapters.names, adapters.active]).toEqual([['first', 'second'], null]);
      expect(logitsOf(model)).toEqual(base);
      for (const name of ['first', 'second', 'first', null, 'second'] as const) {
        const before = tf.memory().numTensors;
        adapters.use(name);
        if (name !== 'first') expect(tf.memory().numTensors).toBeLessThanOrEqual(before);
        expect(
          farthest(logitsOf(model), name === null ? base : name === 'first' ? first.logits : second.logits),
        ).toBeLessThanOrEqual(1e-5);
      }
      expect(() => adapters.use('third')).toThrow(
        expect.objectContaining({ code: 'USAGE', expected: 'first, second' }),
      );
      expect(adapters.active).toBe('second');
      adapters.remove('second');
      expect([adapters.names, adapters.active]).toEqual([['first'], null]);
      expect(logitsOf(model)).toEqual(base);
      adapters.use('first');
      adapters.dispose();
    });
    expect(logitsOf(model)).toEqual(base);
    model.dispose();
  });
});
