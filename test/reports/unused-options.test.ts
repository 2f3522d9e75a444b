import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import '@whetstone/core/tfjs-gradients';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createTinyModel, Trainer } from 'whetstone';
import type { RunOutline, Strategy } from '@whetstone/core/contract';
import { createRandomModel } from '@whetstone/models';
import { createAdamW } from '../../packages/core/src/optimizers/adamw.js';
import { createSgd } from '../../packages/core/src/optimizers/sgd.js';
import { createEarlyStopping } from '../../packages/plugins/src/early-stopping.js';
import { createGradientClipping } from '../../packages/plugins/src/gradient-clipping/gradient-clipping.js';
import { createRepetitionPenalty } from '../../packages/plugins/src/repetition-penalty/repetition-penalty.js';
import { ewcStrategy } from '../../packages/strategies/src/ewc/ewc.js';
import { frozenLayersStrategy } from '../../packages/strategies/src/frozen-layers/frozen-layers.js';
import { hardSamplesStrategy } from '../../packages/strategies/src/hard-samples/hard-samples.js';
import { loraStrategy } from '../../packages/strategies/src/lora/lora.js';
import { prefixStrategy } from '../../packages/strategies/src/prompt/p-tuning-v2.js';
import { qloraStrategy } from '../../packages/strategies/src/qlora/qlora.js';
import { replayStrategy } from '../../packages/strategies/src/replay/replay.js';
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
    [['alpha'], { targetModules: ['q_proj'], alpha: 4, alphaPattern: { q_proj: 16 } }],
    [['rank'], { targetModules: ['q_proj'], rank: 4, rankPattern: { q_proj: 2 } }],
    [['useRslora'], { targetModules: ['q_proj'], rank: 1, useRslora: true }],
    [['loraPlusRatio'], { targetModules: ['q_proj'], loraPlusRatio: 1 }],
    [
      ['modulesToSave[1]', 'modulesToSave[2]'],
      { targetModules: ['q_proj'], modulesToSave: ['lm_head', 'embed_tokens', 'model.embed_tokens'] },
    ],
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
    expect(await unusedOf(await qloraStrategy({ quantType: 'int8', doubleQuantization: true }))).toEqual([
      'doubleQuantization',
    ]);
    expect(await unusedOf(await qloraStrategy({ skipModules: ['self_attn', 'mlp'] }))).toEqual(['quantType']);
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

/** A run of two epochs of ten batches, with an evaluation after every fourth step. */
const run: RunOutline = {
  totalSteps: 20,
  stepsPerEpoch: 10,
  batches: 20,
  evaluates: true,
  evaluations: 5,
  evaluationNumbers: ['loss', 'perplexity', 'bleu'],
  trainable: ['model.layers.0.mlp.up_proj.weight'],
};
interface Checked {
  checkRun?(run: RunOutline): readonly { readonly path: string; readonly reason: string }[];
}
const unusedIn = ({ checkRun }: Checked, more: Partial<RunOutline> = {}): readonly string[] | undefined =>
  checkRun?.({ ...run, ...more }).map(({ path }) => path);

describe('options that change nothing in a run of a certain length', () => {
  beforeAll(() => useBackend('cpu'));

  // Step s (from 0) trains 1 + floor(s / every) layers, so a second layer is trained if every ≤ totalSteps - 1.
  it.each([
    [[], 2, 19],
    [['unfreezeEverySteps'], 2, 20],
    [['unfreezeEverySteps'], 2, 500],
    [[], 1, 500],
  ])('frozen-layers: %j with %d layers and unfreezeEverySteps %d', async (expected, layers, unfreezeEverySteps) => {
    const strategy = frozenLayersStrategy({ trainLastLayers: layers, unfreezeEverySteps });
    const model = createRandomModel(llama, 1);
    await strategy.plan?.(model, null);
    model.dispose();
    expect(unusedIn(strategy)).toEqual(expected);
  });

  it('frozen-layers: some of the layers are never trained', async () => {
    const strategy = frozenLayersStrategy({ trainLastLayers: 4, unfreezeEverySteps: 10 });
    const model = createRandomModel({ ...llama, num_hidden_layers: 4 }, 1);
    await strategy.plan?.(model, null);
    model.dispose();
    expect(strategy.checkRun?.(run)).toMatchObject([
      { path: 'unfreezeEverySteps', effect: 'is too large', reason: expect.stringContaining('lowest 2 of 4 layers') },
    ]);
  });

  it('frozen-layers: a cache that stores nothing, or is never read', () => {
    const cached = (cacheFrozenPrefix: NonNullable<Parameters<typeof frozenLayersStrategy>[0]>['cacheFrozenPrefix']) =>
      frozenLayersStrategy({ cacheFrozenPrefix });
    expect(unusedIn(cached({ maxMemoryMegabytes: 0 }))).toEqual(['cacheFrozenPrefix']);
    expect(unusedIn(cached(true), { totalSteps: 10, evaluations: 1 })).toEqual(['cacheFrozenPrefix']);
    expect(unusedIn(cached(true))).toEqual([]);
  });

  it('ewc: without a penalty, without data, without an earlier task', () => {
    expect(unusedIn(ewcStrategy({ lambda: 0, data: 'old.jsonl' }))).toEqual(['lambda']);
    expect(unusedIn(ewcStrategy({ fisherFile: 'fisher', samples: 5, onlineDecay: 0.5 }))).toEqual([
      'samples',
      'onlineDecay',
    ]);
    expect(unusedIn(ewcStrategy({ data: 'old.jsonl', fisherFile: '/nowhere/fisher', onlineDecay: 0.5 }))).toEqual([
      'onlineDecay',
    ]);
    expect(unusedIn(ewcStrategy({ data: 'old.jsonl', samples: 5, batchSize: 2 }))).toEqual([]);
  });

  it('replay: in the run of a first task', () => {
    expect(unusedIn(replayStrategy({ bufferFile: '/nowhere/buffer', ratio: 0.2 }))).toEqual(['bufferFile', 'ratio']);
    expect(unusedIn(replayStrategy({ data: 'old.jsonl', ratio: 0.2 }))).toEqual([]);
    expect(() => unusedIn(replayStrategy({}))).toThrow('neither data nor a bufferFile');
  });

  it('hard-samples: losses that are never measured, a share of less than one sample', () => {
    expect(unusedIn(hardSamplesStrategy({ everyBatches: 20 }))).toEqual(['everyBatches']);
    expect(unusedIn(hardSamplesStrategy({ everyBatches: 19 }))).toEqual([]);
    expect(unusedIn(hardSamplesStrategy({ everyBatches: 5, poolSize: 8, ignoreHardest: 0.1 }))).toEqual([
      'ignoreHardest',
    ]);
  });

  it('gradient-clipping: a limit of another mode, an infinite limit', () => {
    expect(unusedIn(createGradientClipping({ mode: 'value', maxNorm: 2 }))).toEqual(['maxNorm']);
    expect(unusedIn(createGradientClipping({ maxNorm: Infinity }))).toEqual(['maxNorm']);
    expect(unusedIn(createGradientClipping({ maxNorm: 1e39 }))).toEqual(['maxNorm']);
    expect(unusedIn(createGradientClipping({ mode: 'adaptive', adaptiveFactor: 0.1 }))).toEqual([]);
  });

  it('repetition-penalty: no term at all, options of a term with weight 0, replies that cannot repeat', () => {
    expect(() => unusedIn(createRepetitionPenalty({ unlikelihood: 0 }))).toThrow('could never act');
    expect(() =>
      unusedIn(createRepetitionPenalty({ unlikelihood: 0, generated: { ngram: 8, maxNewTokens: 8 } })),
    ).toThrow('could never act');
    expect(unusedIn(createRepetitionPenalty({ unlikelihood: 0, diversity: 1, ngram: 3, window: 8 }))).toEqual([
      'ngram',
      'window',
    ]);
    expect(unusedIn(createRepetitionPenalty({ generated: { everySteps: 20 } }))).toEqual(['generated.everySteps']);
    expect(unusedIn(createRepetitionPenalty({ generated: { everySteps: 19, ngram: 7, maxNewTokens: 8 } }))).toEqual([]);
    expect(unusedIn(createRepetitionPenalty({ generated: { perMicrobatch: 13 } }))).toEqual([
      'generated.perMicrobatch',
    ]);
    expect(
      unusedIn(createRepetitionPenalty({ generated: { prompts: ['a', 'b'], pool: 4, perMicrobatch: 4 } })),
    ).toEqual(['generated.pool', 'generated.perMicrobatch']);
    expect(unusedIn(createRepetitionPenalty({ generated: { prompts: ['a', 'b'], pool: 2 } }))).toEqual([]);
  });

  it('optimizers: decay where nothing decays, momentum in a single step', () => {
    const norms = { trainable: ['model.norm.weight', 'model.layers.0.self_attn.q_proj.bias'] };
    const adamw = createAdamW({ weightDecay: 0.1, adamBeta1: 0.9, adamBeta2: 0.999, adamEpsilon: 1e-8 });
    expect(adamw.checkRun?.({ ...run, ...norms })).toMatchObject([{ path: 'weightDecay' }]);
    expect(adamw.checkRun?.(run)).toEqual([]);
    expect(unusedIn(createSgd({ momentum: 0.9, weightDecay: 0 }), { totalSteps: 1 })).toEqual(['momentum']);
  });
});

describe('early-stopping', () => {
  const check = (options: Parameters<typeof createEarlyStopping>[0], more: Partial<RunOutline> = {}) =>
    createEarlyStopping(options).checkRun?.({ ...run, ...more });

  it('is refused if it could never act', () => {
    expect(() => check({}, { evaluates: false })).toThrow('makes no evaluation');
    expect(() => check({ metric: 'blue' })).toThrow('no evaluation reports "blue"');
    expect(() => check({ metric: 'trainLoss', trainLossWindow: 21 })).toThrow('first window');
    expect(check({ metric: 'trainLoss', trainLossWindow: 20, baseline: 1, patience: 1 }, { evaluates: false })).toEqual(
      [],
    );
    expect(check({ metric: 'bleu' })).toEqual([]);
    expect(check({ metric: 'mine' }, { evaluationNumbers: null })).toEqual([]);
  });

  it('reports options that change nothing', () => {
    expect(check({ trainLossWindow: 5, thresholdMode: 'relative' })?.map(({ path }) => path)).toEqual([
      'trainLossWindow',
      'thresholdMode',
    ]);
  });

  // Of n evaluations, the first is an improvement without a baseline, so n - 1 remain for patience.
  it.each([
    [[], { patience: 4 }, 5],
    [['patience'], { patience: 5 }, 5],
    [[], { patience: 5, baseline: 1 }, 5],
    [['patience'], { patience: 6, baseline: 1 }, 5],
    [['patience'], { patience: 3, warmupEvaluations: 3 }, 5],
    [[], { patience: 9 }, null],
    // Windows of 4 steps in a run of 20: 5 values.
    [['patience'], { metric: 'trainLoss', trainLossWindow: 4, patience: 5 }, 0],
    [[], { metric: 'trainLoss', trainLossWindow: 4, patience: 4 }, 0],
  ])('reports %j for %j and %s evaluations', (expected, options, evaluations) => {
    expect(check(options, { evaluations })?.map(({ path }) => path)).toEqual(expected);
  });

  it('is refused if it could neither stop the run nor restore weights', () => {
    expect(() => check({ patience: 6, restoreBest: false })).toThrow('could never act');
    expect(check({ patience: 4, restoreBest: false })).toEqual([]);
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
    const chat = { messages: ['user', 'assistant'].map((role) => ({ role, content: 'Hi' })) };
    await writeFile(join(folder, 'chat.jsonl'), JSON.stringify(chat));
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  const trainer = (
    more: object,
    callbacks: readonly object[] = [],
  ): { readonly trainer: Trainer; readonly warnings: string[] } => {
    const warnings: string[] = [];
    const made = new Trainer(
      {
        model: join(folder, 'tiny'),
        backend: 'cpu',
        data: { train: join(folder, 'train.jsonl') },
        loggers: [],
        strategy: { use: 'lora', options: { rank: 2 } },
        output: { folder: null },
        ...more,
        training: { maxSteps: 1, saveStrategy: 'no', ...(more as { training?: object }).training },
      },
      { callbacks },
    );
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

  it('warns about settings, a schedule and companions that change nothing', async () => {
    const { trainer: made, warnings } = trainer({
      model: { path: join(folder, 'tiny'), addTokens: ['<|im_end|>'] },
      data: {
        train: join(folder, 'train.jsonl'),
        eval: join(folder, 'chat.jsonl'),
        leakage: 'off',
        curriculum: { epochs: 9 },
        packingStrategy: 'wrapped',
        assistantOnlyLoss: false,
        rolesToTrain: ['user'],
      },
      schedule: {
        use: 'warmup_stable_decay',
        numDecaySteps: 2,
        decayType: 'linear',
        numCycles: 2,
        warmupType: 'cosine',
      },
      companions: [{ use: 'replay', options: { bufferFile: join(folder, 'buffer') } }, 'hard-samples'],
      callbacks: [{ use: 'gradient-clipping', options: { mode: 'value', maxNorm: 2 } }],
      evaluation: { metrics: ['chrf'] },
      training: {
        maxSteps: 2,
        maxRollbacks: 5,
        loggingSteps: 9,
        ddpTimeout: 5,
        perDeviceEvalBatchSize: 2,
        gradientAccumulationSteps: 9,
      },
    });
    await made.run();
    expect(warnings.map((message) => message.split(':')[0]).sort()).toEqual([
      'callbacks[0].options.maxNorm has no effect',
      'companions[0].options.bufferFile is only written',
      'companions[1].options.everyBatches has no effect',
      'data.assistantOnlyLoss has no effect',
      'data.curriculum by "length" has no effect',
      'data.curriculum.epochs is too large',
      'data.eval has no effect',
      'data.packingStrategy has no effect',
      'data.rolesToTrain has no effect',
      'evaluation.metrics has no effect',
      'model.addTokens[0] has no effect',
      'schedule.numCycles has no effect',
      'schedule.warmupType has no effect',
      'training.ddpTimeout has no effect',
      'training.gradientAccumulationSteps is too large',
      'training.loggingSteps has no effect',
      'training.maxRollbacks has no effect',
      'training.perDeviceEvalBatchSize has no effect',
    ]);
  });

  // Three steps with a save every two steps: one after step 2, and one after the last.
  it.each([
    [{ saveStrategy: 'steps', saveSteps: 2, saveTotalLimit: 2 }, ['the run writes at most 2 checkpoints']],
    [{ saveStrategy: 'steps', saveSteps: 2, saveTotalLimit: 1 }, []],
    [{ saveStrategy: 'end', saveTotalLimit: 1 }, ['the run writes at most 1 checkpoint']],
  ])('warns about a limit of checkpoints that is never reached: %j', async (training, reasons) => {
    const { trainer: made, warnings } = trainer({
      training: { maxSteps: 3, ...training },
      output: { folder: await mkdtemp(join(folder, 'run-')) },
    });
    await made.run();
    const limits = warnings.filter((message) => message.startsWith('training.saveTotalLimit'));
    expect(limits).toEqual(reasons.map((reason) => `training.saveTotalLimit has no effect: ${reason}.`));
  });

  it('does not warn about a limit of checkpoints that a callback can reach', async () => {
    const saving = { onStep: (_: unknown, control: { save(): void }) => control.save() };
    const { trainer: made, warnings } = trainer(
      {
        training: { maxSteps: 2, saveStrategy: 'end', saveTotalLimit: 1 },
        output: { folder: await mkdtemp(join(folder, 'run-')) },
      },
      [saving],
    );
    await made.run();
    expect(warnings.filter((message) => message.includes('saveTotalLimit'))).toEqual([]);
  });

  it('warns about warmup of the schedule constant, which has none', async () => {
    const { trainer: made, warnings } = trainer({
      schedule: { use: 'constant', warmupSteps: 5 },
      training: { maxSteps: 2 },
    });
    await made.run();
    expect(warnings).toEqual(['schedule.warmupSteps has no effect: every step has the same learning rate without it.']);
  });

  it('warns about threads and a precision that the backend lacks, and about a seed of no order', async () => {
    const { trainer: made, warnings } = trainer({
      backend: { name: 'cpu', threads: 2, matmul: 'bfloat16' },
      data: { train: join(folder, 'train.jsonl'), shuffleDataset: false, trainSamplingStrategy: 'sequential' },
      training: { dataSeed: 7 },
    });
    await made.run();
    expect(warnings).toEqual([
      'backend.matmul has no effect: the backend cpu multiplies matrices in float32 only.',
      'backend.threads has no effect: the backend cpu has a fixed number of threads.',
      'training.dataSeed has no effect: the order of the data is not random.',
    ]);
  });

  it('fails if a polynomial schedule would not decrease, as in transformers', async () => {
    const { trainer: made } = trainer({ schedule: { use: 'polynomial', lrEnd: 1 } });
    await expect(made.run()).rejects.toMatchObject({ code: 'CONFIG_CONFLICT', place: { path: 'schedule.lrEnd' } });
  });

  it('warns about an option of a logger that changes nothing', async () => {
    const file = join(folder, 'rare-log.js');
    await writeFile(
      file,
      `export default {
        apiVersion: 2,
        kind: 'logger',
        name: 'rare-log',
        description: 'A test.',
        configSchema: {
          type: 'object',
          additionalProperties: false,
          properties: { every: { type: 'integer', default: 1, description: 'Steps between lines.' } },
        },
        create: ({ every }) => ({
          onStep: () => every,
          checkRun: ({ totalSteps }) =>
            every > totalSteps ? [{ path: 'every', reason: \`the run has only \${totalSteps} step\` }] : [],
        }),
      };`,
    );
    const { trainer: made, warnings } = trainer({ loggers: [{ use: file, options: { every: 9 } }] });
    await made.run();
    expect(warnings).toEqual(['loggers[0].options.every has no effect: the run has only 1 step.']);
  });

  it('warns about a warmup that does not end, and fails if no step has a learning rate', async () => {
    const { trainer: made, warnings } = trainer({ schedule: { warmupSteps: 100 }, training: { maxSteps: 2 } });
    await made.run();
    expect(warnings).toEqual([expect.stringMatching(/^schedule\.warmupSteps is too large: the warmup has 100 steps/)]);
    await expect(trainer({ schedule: { warmupSteps: 1 } }).trainer.run()).rejects.toMatchObject({
      code: 'CONFIG_CONFLICT',
      place: { path: 'schedule.warmupSteps' },
    });
  });

  it('fails if early stopping could never act beside callbacks that request no evaluation', async () => {
    const stopping = (callback: object) =>
      trainer(
        {
          data: { train: join(folder, 'train.jsonl'), eval: join(folder, 'train.jsonl'), leakage: 'off' },
          callbacks: ['early-stopping', 'gradient-clipping', 'nan-guard', 'repetition-penalty'],
        },
        [callback],
      ).trainer.run();
    let steps = 0;
    await expect(stopping({ onStep: () => void steps++ })).rejects.toMatchObject({
      code: 'CONFIG_CONFLICT',
      message: 'early-stopping could never act: the run makes no evaluation.',
    });
    await expect(stopping({ requests: ['stop'], onStep: (_: unknown, control: unknown) => control })).rejects.toThrow(
      'could never act',
    );
    expect(steps).toBe(0);
    await stopping({ onStep: (_: unknown, control: { evaluate(): void }) => control.evaluate() });
    await stopping({ onStep: (...all: unknown[]) => void (all[1] as { evaluate(): void }).evaluate() });
  });

  it('refuses a request that a callback does not declare, or does not know', async () => {
    const made = (callback: object) => trainer({}, [callback]).trainer;
    await expect(
      made({ requests: [], onStep: (_: unknown, control: { save(): void }) => control.save() }).run(),
    ).rejects.toThrow('calls control.save, which it does not declare');
    expect(() => made({ requests: ['evalute'], onStep: () => {} })).toThrow('unknown request');
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
