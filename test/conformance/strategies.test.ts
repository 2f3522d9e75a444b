import '@whetstone/core/tfjs-gradients';
import { beforeAll, expect, it } from 'vitest';
import type { Json, LanguageModel } from '@whetstone/core/contract';
import { createRandomModel } from '@whetstone/models';
import { ewc, frozenLayers, full, hardSamples, lora, pTuningV2, qlora, replay } from '@whetstone/strategies';
import { frozenLayersStrategy } from '../../packages/strategies/src/frozen-layers/frozen-layers.js';
import { fullStrategy } from '../../packages/strategies/src/full/full.js';
import { loraStrategy } from '../../packages/strategies/src/lora/lora.js';
import { prefixStrategy } from '../../packages/strategies/src/prompt/p-tuning-v2.js';
import { builtInPlugins } from '../../packages/cli/src/built-ins.js';
import {
  batchSourceOf,
  describeStrategy as describeOne,
  randomRows,
  type DescribeStrategyOptions,
  type TestedPlugin,
} from '@whetstone/testing';
import { useBackend } from '../support/backend.js';

const llama: Readonly<Record<string, Json>> = {
  model_type: 'llama',
  vocab_size: 24,
  hidden_size: 8,
  intermediate_size: 12,
  num_hidden_layers: 3,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  max_position_embeddings: 32,
  rms_norm_eps: 1e-5,
  rope_theta: 10000,
  tie_word_embeddings: false,
  hidden_act: 'silu',
  initializer_range: 0.3,
};
const gpt2: Readonly<Record<string, Json>> = {
  model_type: 'gpt2',
  vocab_size: 24,
  n_embd: 8,
  n_layer: 2,
  n_head: 2,
  n_positions: 32,
  n_inner: null,
  layer_norm_epsilon: 1e-5,
  activation_function: 'gelu_new',
  initializer_range: 0.3,
};

const llamaModel = (): LanguageModel => createRandomModel(llama, 3);
const gpt2Model = (): LanguageModel => createRandomModel(gpt2, 3);

beforeAll(() => useBackend('cpu'));

const tested = new Set<string>();
function describeStrategy(plugin: TestedPlugin<'strategy'>, options: DescribeStrategyOptions): void {
  tested.add(plugin.name);
  describeOne(plugin, options);
}

it('no built-in strategy is left out', () => {
  expect([...tested].sort()).toEqual(
    builtInPlugins
      .filter(({ kind }) => kind === 'strategy')
      .map(({ name }) => name)
      .sort(),
  );
});

describeStrategy(full, {
  model: llamaModel,
  options: { 'every parameter': {} },
  badOptions: { 'an unknown option': { rank: 2 } },
  learningRate: 0.05,
});

describeStrategy(full, {
  model: llamaModel,
  startsAsBase: false,
  options: { 'bfloat16 weights': { weights: 'bfloat16' } },
  badOptions: { 'weights in float16': { weights: 'float16' } },
  learningRate: 0.05,
});

describeStrategy(frozenLayers, {
  model: llamaModel,
  options: {
    'by default': {},
    'the first layer frozen': { freezeFirstLayers: 1, finalNorm: true },
    'by patterns': {
      trainLastLayers: 0,
      head: false,
      train: ['.*\\.down_proj\\.weight'],
      freeze: ['model\\.layers\\.0\\..*'],
    },
    'gradual unfreezing': { trainLastLayers: 3, unfreezeEverySteps: 2, embeddings: true },
    'the frozen part kept': { trainLastLayers: 1, cacheFrozenPrefix: true },
    'the frozen part kept, gradual unfreezing': {
      trainLastLayers: 2,
      unfreezeEverySteps: 2,
      cacheFrozenPrefix: { maxMemoryMegabytes: 1 },
    },
  },
  badOptions: {
    'more layers than there are': { trainLastLayers: 4 },
    'both counts': { trainLastLayers: 1, freezeFirstLayers: 1 },
    'a pattern that matches nothing': { train: ['model.layer.0'] },
    'a pattern that is none': { freeze: ['('] },
    'everything frozen': { trainLastLayers: 0, head: false },
    'nothing frozen to keep': { trainLastLayers: 3, cacheFrozenPrefix: true },
  },
});

describeStrategy(lora, {
  model: llamaModel,
  seeded: true,
  options: {
    'all linear layers': { rank: 2, alpha: 4 },
    'rsLoRA on a few, of one layer': {
      rank: 3,
      targetModules: ['q_proj', 'down_proj'],
      layersToTransform: 1,
      useRslora: true,
    },
    'patterns and LoRA+': {
      targetModules: '.*\\.(k|up)_proj',
      rankPattern: { k_proj: 1 },
      alphaPattern: { up_proj: 2 },
      loraPlusRatio: 4,
    },
    'with head and norm': {
      rank: 2,
      targetModules: ['v_proj'],
      modulesToSave: ['lm_head', 'norm'],
      initLoraWeights: 'gaussian',
    },
    dropout: { rank: 2, targetModules: ['q_proj', 'up_proj'], dropout: 0.3 },
  },
  badOptions: {
    'rank 0': { rank: 0 },
    'a negative alpha': { alpha: -1 },
    'a target that matches nothing': { targetModules: ['q_porj'] },
    'one target of two that matches nothing': { targetModules: ['q_proj', 'wq'] },
    'a module to save that does not exist': { modulesToSave: ['score'] },
    'a pattern that is none': { targetModules: '(' },
    'dropout of everything': { dropout: 1 },
  },
});

// Its initial values come from the base's weights, not from the seed.
describeStrategy(lora, {
  model: llamaModel,
  options: { PiSSA: { rank: 2, alpha: 4, targetModules: ['v_proj', 'gate_proj'], initLoraWeights: 'pissa' } },
});

// DoRA holds a norm constant in the backward pass: only the magnitudes' gradients are those of the loss.
describeStrategy(lora, {
  model: gpt2Model,
  seeded: true,
  exactGradients: (name) => name.endsWith('lora_magnitude_vector'),
  options: {
    'DoRA with biases, on GPT-2': { rank: 2, useDora: true, bias: 'lora_only', targetModules: ['c_attn', 'c_proj'] },
  },
});

describeStrategy(lora, {
  model: gpt2Model,
  seeded: true,
  options: {
    'a tied head of its own': { rank: 2, targetModules: ['c_fc'], modulesToSave: ['lm_head'] },
    'tied embeddings': { rank: 2, targetModules: ['c_fc'], modulesToSave: ['wte'], bias: 'all' },
  },
});

describeStrategy(qlora, {
  model: llamaModel,
  startsAsBase: false,
  seeded: true,
  options: {
    NF4: { rank: 2, alpha: 4 },
    'FP4 with single scales, some modules kept': {
      rank: 2,
      quantType: 'fp4',
      doubleQuantization: false,
      skipModules: ['o_proj'],
      modulesToSave: ['up_proj'],
    },
    'int8 with dropout': { rank: 2, quantType: 'int8', dropout: 0.2, targetModules: ['q_proj', 'down_proj'] },
  },
  badOptions: {
    'rank 0': { rank: 0 },
    'a type that is not known': { quantType: 'int4' },
    'blocks of another size': { blockSize: 128 },
    'a target that matches nothing': { targetModules: ['q_porj'] },
    PiSSA: { initLoraWeights: 'pissa' },
    'another dtype': { computeDtype: 'float16' },
  },
});

// DoRA holds a norm constant in the backward pass.
describeStrategy(qlora, {
  model: gpt2Model,
  startsAsBase: false,
  seeded: true,
  exactGradients: (name) => name.endsWith('lora_magnitude_vector'),
  options: { 'DoRA over NF4, on GPT-2': { rank: 2, useDora: true } },
});

describeStrategy(pTuningV2, {
  model: llamaModel,
  startsAsBase: false,
  seeded: true,
  options: {
    'every layer': { virtualTokens: 3 },
    'through an MLP': { virtualTokens: 3, projection: true, encoderHiddenSize: 5 },
    'at the input': { virtualTokens: 3, depth: 'input', init: 'vocabulary' },
  },
  badOptions: {
    'no virtual tokens': { virtualTokens: 0 },
    'an MLP at the input': { depth: 'input', projection: true },
    'a vocabulary in every layer': { init: 'vocabulary' },
  },
});

describeStrategy(pTuningV2, {
  model: llamaModel,
  startsAsBase: false,
  options: { 'from zero': { virtualTokens: 2, init: 'zero' } },
});

const oldTask = { openData: async () => batchSourceOf(randomRows(6, 24, 99), 1) };

describeStrategy(ewc, {
  model: llamaModel,
  owner: (model, run) => fullStrategy().attach(model, run),
  run: oldTask,
  learningRate: 0.02,
  options: {
    'over full': { data: 'old.jsonl', lambda: 20 },
    'from batches, reported': { data: 'old.jsonl', lambda: 5, batchSize: 2, reportEverySteps: 2 },
  },
  badOptions: {
    'a negative lambda': { lambda: -1, data: 'old.jsonl' },
    'neither data nor a file': {},
    'no samples': { samples: 0, data: 'old.jsonl' },
  },
});

describeStrategy(ewc, {
  model: gpt2Model,
  owner: (model, run) => loraStrategy({ rank: 2 }).attach(model, run),
  run: oldTask,
  options: {
    'over LoRA': { data: 'old.jsonl' },
    'over the effective weights of LoRA': { data: 'old.jsonl', on: 'effective-weights', lambda: 20 },
  },
});

describeStrategy(ewc, {
  model: llamaModel,
  owner: (model, run) => frozenLayersStrategy({ trainLastLayers: 1 }).attach(model, run),
  run: oldTask,
  options: { 'over frozen layers': { data: 'old.jsonl' } },
  badOptions: {},
});

describeStrategy(ewc, {
  model: llamaModel,
  startsAsBase: false,
  owner: (model, run) => prefixStrategy({ virtualTokens: 2 }).attach(model, run),
  run: oldTask,
  options: { 'over prefixes': { data: 'old.jsonl' } },
  badOptions: { 'effective weights of prefixes': { data: 'old.jsonl', on: 'effective-weights' } },
});

describeStrategy(hardSamples, {
  model: llamaModel,
  owner: (model, run) => fullStrategy().attach(model, run),
  run: oldTask,
  options: { 'by default': {}, 'measured often': { everyBatches: 1, ratio: 0.5, poolSize: 3 } },
  badOptions: { 'more than half': { ratio: 0.6 } },
  learningRate: 0.05,
});

describeStrategy(replay, {
  model: llamaModel,
  owner: (model, run) => loraStrategy({ rank: 2 }).attach(model, run),
  run: oldTask,
  options: {
    'by sample': { data: 'old.jsonl', ratio: 0.2 },
    'by token, prioritised': { data: 'old.jsonl', unit: 'token', priority: 'loss' },
  },
  badOptions: {
    'a ratio of nothing': { data: 'old.jsonl', ratio: 0 },
    'a ratio of everything': { data: 'old.jsonl', ratio: 1 },
    'nothing to replay': {},
  },
});
