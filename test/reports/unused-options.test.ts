import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import '@whetstone/core/tfjs-gradients';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createTinyModel, Trainer } from 'whetstone';
import type { RunOutline, Strategy } from '@whetstone/core/contract';
import { createRandomModel } from '@whetstone/models';
import { createEarlyStopping } from '../../packages/plugins/src/early-stopping.js';
import { frozenLayersStrategy } from '../../packages/strategies/src/frozen-layers/frozen-layers.js';
import { loraStrategy } from '../../packages/strategies/src/lora/lora.js';
import { prefixStrategy } from '../../packages/strategies/src/prompt/p-tuning-v2.js';
import { qloraStrategy } from '../../packages/strategies/src/qlora/qlora.js';
import { useBackend } from '../support/backend.js';
import { tinyLlama as llama } from '../support/tiny-llama.js';

const tied = { ...llama, tie_word_embeddings: true };
type ModelConfig = Parameters<typeof createRandomModel>[0];

describe('options of strategies that change nothing', () => {
  beforeAll(() => useBackend('cpu'));

  const plan = async (strategy: Strategy, config: ModelConfig = llama) => {
    const model = createRandomModel(config, 1);
    try {
      return await strategy.plan?.(model, null);
    } finally {
      model.dispose();
    }
  };
  const unusedOf = async (strategy: Strategy, config?: ModelConfig): Promise<string[]> =>
    ((await plan(strategy, config))?.unusedOptions ?? []).map(({ path }) => path.replace('strategy.options.', ''));
  const targets = ['q_proj', 'v_proj'];

  // The expected options follow from the names of a Llama: two layers, linear layers without biases.
  it.each<[string[], NonNullable<Parameters<typeof loraStrategy>[0]>]>([
    [['excludeModules[1]'], { targetModules: targets, excludeModules: ['v_proj', 'k_proj'] }],
    [['excludeModules'], { excludeModules: 'lm_head' }],
    [['layersToTransform[1]'], { targetModules: targets, layersToTransform: [1, 7] }],
    [['layersPattern'], { targetModules: targets, layersPattern: 'layers' }],
    [['targetModules[1]'], { targetModules: targets, excludeModules: ['v_proj'] }],
    [
      ['rankPattern["k_proj"]', 'alphaPattern["lm_head"]'],
      {
        targetModules: targets,
        rankPattern: { q_proj: 4, k_proj: 4 },
        alphaPattern: { lm_head: 4 },
      },
    ],
    [['bias'], { bias: 'all' }],
    [['bias'], { bias: 'lora_only' }],
    [[], { targetModules: targets, excludeModules: ['layers.0.self_attn.v_proj'], rankPattern: { v_proj: 2 } }],
  ])('lora: %j', async (expected, options) => {
    const unused = await unusedOf(loraStrategy(options));
    expect(unused.filter((option) => expected.includes(option) || !/targetModules/.test(option))).toEqual(expected);
  });

  it('qlora: modules to skip that would not be quantised', async () => {
    expect(await unusedOf(await qloraStrategy({ skipModules: ['q_proj', 'q_porj', 'lm_head'] }))).toEqual([
      'skipModules[1]',
      'skipModules[2]',
    ]);
  });

  it.each([
    [['head'], { head: false }, tied],
    [[], { head: false }, llama],
    [['train[0]'], { trainLastLayers: 1, train: ['model\\.layers\\.1\\..*'] }, llama],
    [['freeze[0]'], { trainLastLayers: 1, freeze: ['model\\.layers\\.0\\..*'] }, llama],
    [['unfreezeEverySteps'], { trainLastLayers: 1, unfreezeEverySteps: 5 }, llama],
    [[], { trainLastLayers: 2, unfreezeEverySteps: 5, freeze: ['model\\.layers\\.0\\.mlp\\..*'] }, llama],
  ])('frozen-layers: %j', async (expected, options, config) => {
    expect(await unusedOf(frozenLayersStrategy(options), config)).toEqual(expected);
  });

  it('p-tuning-v2: the size of an MLP that does not exist, virtual tokens beyond the positions', async () => {
    expect(await unusedOf(prefixStrategy({ encoderHiddenSize: 4 }))).toEqual(['encoderHiddenSize']);
    expect(await plan(prefixStrategy({ virtualTokens: 31 }))).toMatchObject({ virtualTokens: 31 });
    await expect(plan(prefixStrategy({ virtualTokens: 32 }))).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
      place: { path: 'strategy.options.virtualTokens' },
      found: '32',
    });
  });

  it.each([
    ['excludeModules', { targetModules: targets, excludeModules: targets }],
    ['layersToTransform', { targetModules: targets, layersToTransform: [9] }],
    ['modulesToSave', { targetModules: ['lm_head'], modulesToSave: ['lm_head'] }],
  ])('an error names %s if it leaves no target', async (option, options) => {
    await expect(plan(loraStrategy(options))).rejects.toMatchObject({
      code: 'STRATEGY_TARGETS_NOTHING',
      place: { path: `strategy.options.${option}` },
    });
  });

  it.each([
    ['targetModules', loraStrategy({ targetModules: '.*(q_proj' })],
    ['excludeModules', loraStrategy({ excludeModules: '.*(q_proj' })],
    ['rankPattern.(q_proj', loraStrategy({ rankPattern: { '(q_proj': 2 } })],
    ['layersPattern', loraStrategy({ targetModules: targets, layersToTransform: [1], layersPattern: '(layers' })],
    ['train[0]', frozenLayersStrategy({ train: ['(q_proj'] })],
  ])('an invalid regular expression in %s is reported with the reason', async (option, strategy) => {
    await expect(plan(strategy)).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
      place: { path: `strategy.options.${option}` },
      found: expect.not.stringContaining('^'),
      hint: expect.stringContaining('Unterminated group'),
    });
  });
});

describe('early-stopping', () => {
  const run: RunOutline = { totalSteps: 20, evaluates: true, evaluationNumbers: ['loss', 'perplexity', 'bleu'] };
  const check = (options: Parameters<typeof createEarlyStopping>[0], more: Partial<RunOutline> = {}) =>
    createEarlyStopping(options).checkRun?.({ ...run, ...more });

  it('is refused if it could never act', () => {
    expect(() => check({}, { evaluates: false })).toThrow('makes no evaluation');
    expect(() => check({ metric: 'blue' })).toThrow('no evaluation reports "blue"');
    expect(() => check({ metric: 'trainLoss', trainLossWindow: 21 })).toThrow('first window');
    expect(check({ metric: 'trainLoss', trainLossWindow: 20 }, { evaluates: false })).toEqual([]);
    expect(check({ metric: 'bleu' })).toEqual([]);
    expect(check({ metric: 'mine' }, { evaluationNumbers: null })).toEqual([]);
  });

  it('reports options that change nothing', () => {
    expect(check({ trainLossWindow: 5, thresholdMode: 'relative' })?.map(({ path }) => path)).toEqual([
      'trainLossWindow of early-stopping',
      'thresholdMode of early-stopping',
    ]);
  });
});

describe('a run', () => {
  let folder: string;
  beforeAll(async () => {
    await useBackend('cpu');
    folder = await mkdtemp(join(tmpdir(), 'whetstone-unused-'));
    await createTinyModel(join(folder, 'tiny'), { hiddenSize: 16, layers: 1 });
    const rows = Array.from({ length: 4 }, (_, index) => ({ prompt: `Say ${index}.`, completion: 'Yes.' }));
    await writeFile(join(folder, 'train.jsonl'), rows.map((row) => JSON.stringify(row)).join('\n'));
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  const trainer = (more: object): { readonly trainer: Trainer; readonly warnings: string[] } => {
    const warnings: string[] = [];
    const made = new Trainer({
      model: join(folder, 'tiny'),
      backend: 'cpu',
      data: { train: join(folder, 'train.jsonl') },
      loggers: [],
      strategy: { use: 'lora', options: { rank: 2 } },
      output: { folder: null },
      ...more,
      training: { maxSteps: 1, saveStrategy: 'no', ...(more as { training?: object }).training },
    });
    made.on('warning', ({ message }) => warnings.push(message));
    return { trainer: made, warnings };
  };

  it('warns about each option that changes nothing', async () => {
    const { trainer: made, warnings } = trainer({
      strategy: { use: 'lora', options: { rank: 2, bias: 'all', excludeModules: ['nothing'] } },
      training: { numTrainEpochs: 2, saveTotalLimit: 2 },
    });
    await made.run();
    expect(warnings.filter((message) => message.includes('has no effect')).sort()).toEqual([
      'strategy.options.bias has no effect: the model has no biases.',
      'strategy.options.excludeModules[0] has no effect: "nothing" matches none of the modules that would be adapted.',
      'training.numTrainEpochs has no effect: training.maxSteps (1) decides the length.',
      'training.saveTotalLimit has no effect: training.saveStrategy is "no".',
    ]);
  });

  it('fails before its first step if a callback could never act, or if a metric is never reported', async () => {
    await expect(trainer({ callbacks: ['early-stopping'] }).trainer.run()).rejects.toMatchObject({
      code: 'CONFIG_CONFLICT',
      message: 'early-stopping could never act: the run makes no evaluation.',
    });
    const evaluated = {
      data: { train: join(folder, 'train.jsonl'), eval: join(folder, 'train.jsonl'), leakage: 'off' },
      training: { evalStrategy: 'epoch', loadBestModelAtEnd: true, metricForBestModel: 'eval_los' },
    };
    await expect(trainer(evaluated).trainer.run()).rejects.toMatchObject({
      code: 'CONFIG_CONFLICT',
      place: { path: 'training.metricForBestModel' },
    });
  });

  it('refuses a value beside an adapter that differs from it, also if it is the default', async () => {
    await trainer({ output: { folder: join(folder, 'first') } }).trainer.run();
    const adapter = join(folder, 'first', 'adapter');
    const next = (options: object) => trainer({ strategy: { use: 'lora', options: { adapter, ...options } } }).trainer;
    await expect(next({ rank: 8 }).run()).rejects.toMatchObject({
      code: 'CONFIG_CONFLICT',
      problems: [{ place: { path: 'strategy.options.rank' }, expected: '2', found: '8' }],
    });
    await next({ rank: 2 }).run();
  });
});
