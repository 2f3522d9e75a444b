import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import '@whetstone/core/tfjs-gradients';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createTinyModel, findModelFolder, Trainer, untypedConfig } from 'whetstone';
import { provide } from '@whetstone/core';
import {
  isWhetstoneError,
  MODEL_LOADER,
  type LanguageModel,
  type ModelOutline,
  type Strategy,
} from '@whetstone/core/contract';
import { createRandomModel, loadLanguageModel, loadModel, readOutline } from '@whetstone/models';
import { frozenLayersStrategy } from '../../packages/strategies/src/frozen-layers/frozen-layers.js';
import { fullStrategy } from '../../packages/strategies/src/full/full.js';
import { loraStrategy } from '../../packages/strategies/src/lora/lora.js';
import { prefixStrategy } from '../../packages/strategies/src/prompt/p-tuning-v2.js';
import { goldenPath } from '../support/golden.js';
import { useBackend } from '../support/backend.js';
import { tinyLlama as llama } from '../support/tiny-llama.js';

const gpt2 = {
  model_type: 'gpt2',
  vocab_size: 24,
  n_embd: 8,
  n_layer: 2,
  n_head: 2,
  n_positions: 32,
  layer_norm_epsilon: 1e-5,
  activation_function: 'gelu_new',
};

const strategies: Readonly<Record<string, Strategy>> = {
  full: fullStrategy(),
  'frozen layers': frozenLayersStrategy({ trainLastLayers: 1, finalNorm: true, head: false }),
  'frozen layers, a tied head': frozenLayersStrategy({ trainLastLayers: 1, head: true }),
  LoRA: loraStrategy({ rank: 3, targetModules: '.*(q_proj|up_proj|c_attn)', bias: 'lora_only' }),
  'LoRA with patterns and a head': loraStrategy({
    rank: 2,
    rankPattern: { '0.*': 3 },
    modulesToSave: ['lm_head'],
    bias: 'all',
  }),
  DoRA: loraStrategy({ rank: 2, useDora: true }),
  PiSSA: loraStrategy({ rank: 2, initLoraWeights: 'pissa' }),
  prefix: prefixStrategy({ virtualTokens: 3 }),
  'prefix through an MLP': prefixStrategy({ virtualTokens: 3, projection: true, encoderHiddenSize: 5 }),
  prompt: prefixStrategy({ virtualTokens: 3, depth: 'input' }),
};

describe('a plan equals the result of attaching', () => {
  beforeAll(() => useBackend('cpu'));
  it.each(Object.entries(strategies))('%s', async (_name, strategy) => {
    for (const config of [llama, gpt2]) {
      const model: LanguageModel = createRandomModel(config, 1);
      const plan = await strategy.plan?.(model, null);
      const attachment = await strategy.attach(model, { seed: 1, totalSteps: 1, modelFolder: null });
      expect(Object.fromEntries(plan?.trainable ?? [])).toEqual(
        Object.fromEntries([...attachment.trainable].map(([name, { shape }]) => [name, shape])),
      );
      const effective = attachment.effectiveWeights?.();
      if (plan?.effectiveWeights !== undefined)
        expect([...plan.effectiveWeights.keys()]).toEqual([...(effective?.keys() ?? [])]);
      attachment.dispose();
      model.dispose();
    }
  });

  it('an outline describes the model without weights', async () => {
    for (const name of ['llama', 'gpt2', 'phi3', 'gemma2', 'llama-tied']) {
      const outline = await readOutline(goldenPath('models', name));
      const loaded = await loadLanguageModel(goldenPath('models', name));
      const plain = ({ parameters, linearSites, attentionSites, embeddingSite, ...rest }: ModelOutline): unknown => ({
        sizes: [rest.architecture, rest.vocabularySize, rest.hiddenSize, rest.layers],
        parameters: [...parameters].map(([key, { shape }]) => [key, shape]),
        sites: [...linearSites].map(([key, site]) => [
          key,
          site.inFeatures,
          site.outFeatures,
          site.fanInFanOut,
          site.isOutput,
        ]),
        attention: attentionSites.map((site) => [site.name, site.layer, site.keyValueHeads, site.headDim]),
        embedding: embeddingSite.name,
      });
      expect(plain(outline), name).toEqual(plain(loaded));
      loaded.dispose();
    }
  });
});

describe('options that do not match the model', () => {
  let folder = '';
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'whetstone-plan-'));
    await useBackend('cpu');
    await createTinyModel(join(folder, 'tiny'), { hiddenSize: 32, layers: 2 });
    await createTinyModel(join(folder, 'small'), { hiddenSize: 16, layers: 1 });
    await writeFile(
      join(folder, 'train.jsonl'),
      Array.from({ length: 4 }, (_, index) =>
        JSON.stringify({
          messages: [
            { role: 'user', content: `Say ${index}` },
            { role: 'assistant', content: 'yes' },
          ],
        }),
      ).join('\n'),
    );
    // Adapters and a Fisher file of the smaller model.
    const made = (name: string, more: object): Promise<unknown> =>
      new Trainer(untypedConfig(configOf('small', { ...more, output: { folder: join(folder, name) } }))).run();
    await made('adapter-run', { strategy: { use: 'lora', options: { rank: 2 } } });
    await made('prefix-run', { strategy: { use: 'p-tuning-v2', options: { virtualTokens: 3 } } });
    await made('fisher-run', {
      strategy: 'full',
      companions: [
        {
          use: 'ewc',
          options: { data: join(folder, 'train.jsonl'), samples: 2, fisherFile: join(folder, 'fisher.safetensors') },
        },
      ],
    });
  }, 240_000);
  afterAll(() => rm(folder, { recursive: true, force: true }));

  const configOf = (model: string, more: object): object => ({
    model: join(folder, model),
    backend: 'cpu',
    data: { train: join(folder, 'train.jsonl') },
    loggers: [],
    training: { maxSteps: 1, perDeviceTrainBatchSize: 2, saveStrategy: 'no' },
    ...more,
  });

  const cases = (): readonly (readonly [string, object, string])[] => {
    const adapter = join(folder, 'adapter-run', 'adapter');
    return [
      ['rank 0', { strategy: { use: 'lora', options: { rank: 0 } } }, 'CONFIG_INVALID'],
      [
        'a rank that is too large for PiSSA',
        { strategy: { use: 'lora', options: { rank: 1000, initLoraWeights: 'pissa' } } },
        'CONFIG_INVALID',
      ],
      [
        'a target that matches nothing',
        { strategy: { use: 'lora', options: { targetModules: ['q_porj'] } } },
        'STRATEGY_TARGETS_NOTHING',
      ],
      [
        'a module to save that does not exist',
        { strategy: { use: 'lora', options: { modulesToSave: ['score'] } } },
        'STRATEGY_TARGETS_NOTHING',
      ],
      [
        'a pattern that matches nothing',
        { strategy: { use: 'frozen-layers', options: { train: ['model.layer.0'] } } },
        'STRATEGY_TARGETS_NOTHING',
      ],
      [
        'more layers than the model has',
        { strategy: { use: 'frozen-layers', options: { trainLastLayers: 9 } } },
        'CONFIG_INVALID',
      ],
      [
        'a cache without frozen layers',
        { strategy: { use: 'frozen-layers', options: { trainLastLayers: 2, cacheFrozenPrefix: true } } },
        'CONFIG_CONFLICT',
      ],
      ['an adapter of another shape', { strategy: { use: 'lora', options: { adapter } } }, 'ADAPTER_INVALID'],
      [
        'a prefix of another shape',
        { strategy: { use: 'p-tuning-v2', options: { adapter: join(folder, 'prefix-run', 'adapter') } } },
        'ADAPTER_INVALID',
      ],
      ['an adapter of another type', { strategy: { use: 'p-tuning-v2', options: { adapter } } }, 'ADAPTER_INVALID'],
      [
        'options that differ from the adapter',
        { strategy: { use: 'lora', options: { adapter, rank: 4, useDora: true } } },
        'CONFIG_CONFLICT',
      ],
      [
        'a missing adapter',
        { strategy: { use: 'lora', options: { adapter: join(folder, 'nowhere') } } },
        'ADAPTER_INVALID',
      ],
      [
        'a Fisher file of another model',
        { strategy: 'full', companions: [{ use: 'ewc', options: { fisherFile: join(folder, 'fisher.safetensors') } }] },
        'CHECKPOINT_INVALID',
      ],
      [
        'a missing Fisher file',
        { strategy: 'full', companions: [{ use: 'ewc', options: { fisherFile: join(folder, 'none.safetensors') } }] },
        'CONFIG_INVALID',
      ],
      [
        'effective weights of a prefix',
        {
          strategy: 'p-tuning-v2',
          companions: [{ use: 'ewc', options: { on: 'effective-weights', data: 'train.jsonl' } }],
        },
        'CONFIG_CONFLICT',
      ],
      [
        'a ratio out of range',
        { strategy: 'full', companions: [{ use: 'replay', options: { ratio: 1.5, data: 'train.jsonl' } }] },
        'CONFIG_INVALID',
      ],
    ];
  };

  it('are rejected before weights are read', async () => {
    for (const [name, more, code] of cases()) {
      let loaded = false;
      const loader = {
        load: async (path: string) => ((loaded = true), loadModel(path)),
        outline: async (path: string) => readOutline(await findModelFolder(path)),
      };
      const trainer = new Trainer(untypedConfig(configOf('tiny', { ...more, output: { folder: null } })), {
        services: [provide(MODEL_LOADER, loader)],
      });
      const outcome = await trainer.run().then(
        () => 'a run',
        (error: unknown) => (isWhetstoneError(error) ? error.code : String(error)),
      );
      expect({ name, outcome, loaded }).toEqual({ name, outcome: code, loaded: false });
    }
    let loaded = false;
    const loader = { load: async (path: string) => ((loaded = true), loadModel(path)), outline: readOutline };
    await new Trainer(
      untypedConfig(configOf('tiny', { strategy: { use: 'lora', options: { rank: 2 } }, output: { folder: null } })),
      {
        services: [provide(MODEL_LOADER, loader)],
      },
    ).run();
    expect(loaded, 'what fits is loaded').toBe(true);
  }, 240_000);
});
