import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { definePlugin, WhetstoneError, type Plugin } from '../contract/index.js';
import { createRegistry, loadPlugin } from '../plugins/index.js';
import { composeSchema } from './compose-schema.js';
import type { ConfigDefaults } from './normalize.js';
import { readConfigFile, rawConfigOf } from './read-config.js';
import { resolveConfig, type ConfigResolution } from './resolve-config.js';
import { compileSchema } from './validate-config.js';

const never = () => {
  throw new Error('not created here');
};
const builtIns: readonly Plugin[] = [
  definePlugin({
    apiVersion: 2,
    kind: 'strategy',
    name: 'lora',
    configSchema: {
      type: 'object',
      additionalProperties: false,
      properties: {
        rank: { type: 'integer', minimum: 1, default: 8 },
        alpha: { type: 'number', default: 16 },
        targetModules: {
          anyOf: [{ type: 'string' }, { type: 'array', items: { type: 'string' } }],
          default: 'all-linear',
        },
        plus: {
          type: 'object',
          additionalProperties: false,
          properties: { ratio: { type: 'number', default: 1 } },
          default: {},
        },
      },
    },
    create: never,
  }),
  definePlugin({
    apiVersion: 2,
    kind: 'strategy',
    name: 'full',
    configSchema: { type: 'object', additionalProperties: false },
    create: never,
  }),
  definePlugin({
    apiVersion: 2,
    kind: 'callback',
    name: 'gradient-clipping',
    configSchema: {
      type: 'object',
      additionalProperties: false,
      required: ['maxNorm'],
      properties: { maxNorm: { $ref: '#/$defs/positive' } },
      $defs: { positive: { type: 'number', exclusiveMinimum: 0 } },
    },
    create: never,
  }),
  definePlugin({
    apiVersion: 2,
    kind: 'logger',
    name: 'metrics-jsonl',
    configSchema: { type: 'object', additionalProperties: false },
    create: never,
  }),
  definePlugin({
    apiVersion: 2,
    kind: 'data-source',
    name: 'conversations',
    configSchema: {
      type: 'object',
      additionalProperties: false,
      required: ['path'],
      properties: {
        path: { anyOf: [{ type: 'string' }, { type: 'array', items: { type: 'string' } }] },
        limit: { type: ['integer', 'null'], default: null },
      },
    },
    create: never,
  }),
  definePlugin({
    apiVersion: 2,
    kind: 'optimizer',
    name: 'adamw',
    configSchema: {
      type: 'object',
      additionalProperties: false,
      required: ['weightDecay'],
      properties: {
        weightDecay: { type: 'number', minimum: 0, default: 0 },
        adamBeta1: { type: 'number', default: 0.9 },
      },
    },
    create: never,
  }),
  definePlugin({
    apiVersion: 2,
    kind: 'schedule',
    name: 'linear',
    configSchema: {
      type: 'object',
      additionalProperties: false,
      properties: { warmupSteps: { type: 'number', minimum: 0, default: 0 } },
    },
    create: never,
  }),
  definePlugin({
    apiVersion: 2,
    kind: 'schedule',
    name: 'cosine',
    configSchema: {
      type: 'object',
      additionalProperties: false,
      properties: { warmupSteps: { type: 'number', minimum: 0, default: 0 } },
    },
    create: never,
  }),
];

const defaults: ConfigDefaults = {
  dataSource: 'conversations',
  callbacks: [{ use: 'gradient-clipping', options: { maxNorm: 1 } }],
  loggers: [{ use: 'metrics-jsonl' }],
  importedNames: {
    max_grad_norm: (value) => ({
      path: 'callbacks+',
      value: { use: 'gradient-clipping', options: { maxNorm: value } },
    }),
  },
};
const base = resolve('/somewhere');
const minimal = { model: 'm', data: { train: 'train.jsonl' }, strategy: 'lora' };

function resolveObject(value: unknown, baseFolder = base): Promise<ConfigResolution> {
  const registry = createRegistry(builtIns);
  return resolveConfig(rawConfigOf(value, baseFolder), {
    defaults,
    load: (kind, use) => loadPlugin(kind, use, { registry, baseFolder }),
  });
}

async function rejection(value: unknown): Promise<WhetstoneError> {
  try {
    await resolveObject(value);
  } catch (error) {
    if (error instanceof WhetstoneError) return error;
    throw error;
  }
  throw new Error('was accepted');
}
const pathsOf = (error: WhetstoneError) => error.problems.map((problem) => problem.place?.path);

const folder = mkdtempSync(join(tmpdir(), 'whetstone-config-'));
afterAll(() => rmSync(folder, { recursive: true }));

// Members of every object of JavaScript, which a lookup in a table of names must not find.
it.each(['constructor', 'valueOf', 'hasOwnProperty', '__proto__'])(
  'the key %s is unknown at every place',
  async (key) => {
    const own = JSON.parse(`{"${key}": 1}`) as object;
    const configs = [
      { ...minimal, ...own },
      { ...minimal, training: own },
      { ...minimal, strategy: { use: 'lora', options: own } },
    ];
    for (const config of configs) {
      const error = await rejection(config);
      expect(error.code).toBe('CONFIG_INVALID');
      expect(String(error)).toContain(key);
    }
    expect(await rejection({ ...minimal, strategy: key })).toMatchObject({
      code: expect.not.stringMatching('INTERNAL') as string,
    });
  },
);

describe('a valid configuration', () => {
  it('gets every default, those of plugins included', async () => {
    const { config } = await resolveObject(minimal);
    expect(config).toEqual({
      baseFolder: base,
      model: { use: null, path: 'm', dtype: 'float32', addTokens: [], options: {} },
      chatTemplatePath: null,
      backend: { name: 'auto', devices: null, threads: null, matmul: 'float32' },
      data: {
        train: { use: 'conversations', options: { path: 'train.jsonl', limit: null } },
        eval: null,
        transforms: [],
        maxLength: 1024,
        truncationMode: 'keep_start',
        assistantOnlyLoss: true,
        completionOnlyLoss: true,
        rolesToTrain: ['assistant'],
        lastTurnOnly: false,
        roleWeights: {},
        shuffleDataset: true,
        trainSamplingStrategy: 'random',
        evalShare: null,
        packing: false,
        packingStrategy: 'bfd',
        tokensPerBatch: null,
        balance: null,
        curriculum: null,
        paddingFree: true,
        padToMultipleOf: null,
        unreadableRows: { maxShare: 0.01 },
        samplesWithoutTargets: 'error',
        supervisionProof: 'error',
        leakage: 'error',
        qualityGate: null,
        workers: null,
      },
      evaluation: { metrics: [], replies: 32, maxNewTokens: 128 },
      strategy: { use: 'lora', options: { rank: 8, alpha: 16, targetModules: 'all-linear', plus: { ratio: 1 } } },
      companions: [],
      callbacks: [{ use: 'gradient-clipping', options: { maxNorm: 1 } }],
      loggers: [{ use: 'metrics-jsonl', options: {} }],
      optimizer: { use: 'adamw', learningRate: 2e-5, weightDecay: 0, adamBeta1: 0.9 },
      schedule: { use: 'linear', warmupSteps: 0 },
      training: {
        numTrainEpochs: 3,
        maxSteps: -1,
        perDeviceTrainBatchSize: 8,
        perDeviceEvalBatchSize: 8,
        gradientAccumulationSteps: 1,
        seed: 42,
        dataSeed: null,
        loggingSteps: 1,
        evalStrategy: 'no',
        evalSteps: null,
        saveStrategy: 'steps',
        saveSteps: 500,
        saveTotalLimit: null,
        loadBestModelAtEnd: false,
        metricForBestModel: 'loss',
        greaterIsBetter: null,
        resumeFromCheckpoint: null,
        resumeDespite: [],
        maxRollbacks: 3,
        ddpTimeout: 1800,
        ddpBucketCapMb: 25,
      },
      output: { folder: null, overwrite: false },
    });
  });

  it.each([
    ['auto', {}],
    ['float32', { backend: { matmul: 'float32' } }],
    ['float32', { model: { path: 'm', dtype: 'float32' } }],
    ['bfloat16', { model: { path: 'm', dtype: 'bfloat16' } }],
    ['float32', { model: { path: 'm', addTokens: ['<|x|>'] } }],
    ['float32', { strategy: { use: 'full' } }],
  ])('has the dtype %s of weights with products in bfloat16 and %o', async (dtype, changes) => {
    const { config } = await resolveObject({ ...minimal, backend: { matmul: 'bfloat16' }, ...changes });
    expect(config.model.dtype).toBe(dtype);
  });

  it('is frozen with all nested objects', async () => {
    const { config } = await resolveObject(minimal);
    expect(
      Object.isFrozen(config) && Object.isFrozen(config.data.train.options) && Object.isFrozen(config.callbacks[0]),
    ).toBe(true);
  });

  it('can be resolved again', async () => {
    const { config } = await resolveObject(minimal);
    expect((await resolveObject(config)).config).toEqual(config);
    const { config: unsaved } = await resolveObject({ ...minimal, training: { saveStrategy: 'no' } });
    expect((await resolveObject(unsaved)).config).toEqual(unsaved);
  });

  it('has paths relative to its own folder', async () => {
    const { config } = await resolveObject({
      ...minimal,
      model: './m',
      chatTemplatePath: 'chat.jinja',
      output: { folder: 'runs/a' },
      training: { resumeFromCheckpoint: 'runs/a/checkpoint-5' },
    });
    expect(config.model.path).toBe(join(base, 'm'));
    expect(config.chatTemplatePath).toBe(join(base, 'chat.jinja'));
    expect(config.output.folder).toBe(join(base, 'runs', 'a'));
    expect(config.training.resumeFromCheckpoint).toBe(join(base, 'runs', 'a', 'checkpoint-5'));
  });

  it('can be a file with comments, whose name becomes that of the output folder', async () => {
    const file = join(folder, 'mine.json');
    writeFileSync(file, `// a run\n${JSON.stringify(minimal)}`);
    const registry = createRegistry(builtIns);
    const { config } = await resolveConfig(await readConfigFile(file), {
      defaults,
      load: (kind, use) => loadPlugin(kind, use, { registry, baseFolder: folder }),
    });
    expect(config.output.folder).toBe(join(folder, 'runs', 'mine'));
  });

  it('distinguishes set values from defaults', async () => {
    const { wasWritten } = await resolveObject({ ...minimal, strategy: { use: 'lora', options: { rank: 4 } } });
    expect([wasWritten(['strategy', 'options', 'rank']), wasWritten(['strategy', 'options', 'alpha'])]).toEqual([
      true,
      false,
    ]);
  });
});

describe('an invalid configuration', () => {
  it('is reported with all problems and their paths', async () => {
    const error = await rejection({
      model: 'm',
      data: { train: 'train.jsonl', maxLenght: 5, truncationMode: 'middle' },
      strategy: { use: 'lora', options: { rank: 'eight', apha: 3 } },
      callbacks: [{ use: 'gradient-clipping', options: { maxNorm: -1 } }, { use: 'gradient-clipping' }],
      optimizer: { learningRate: 0, weightDecay: 'x', momentum: 1 },
      training: { maxSteps: 1.5 },
      colour: 'red',
    });
    expect(error.code).toBe('CONFIG_INVALID');
    expect(new Set(pathsOf(error))).toEqual(
      new Set([
        'data.maxLenght',
        'data.truncationMode',
        'strategy.options.rank',
        'strategy.options.apha',
        'callbacks[0].options.maxNorm',
        'callbacks[1].options.maxNorm',
        'optimizer.learningRate',
        'optimizer.weightDecay',
        'optimizer.momentum',
        'training.maxSteps',
        'colour',
      ]),
    );
    const at = (path: string) => error.problems.find((problem) => problem.place?.path === path);
    expect(at('data.maxLenght')?.hint).toBe("Did you mean 'maxLength'?");
    expect(at('strategy.options.rank')).toMatchObject({ expected: 'a whole number', found: '"eight"' });
    expect(at('strategy.options.apha')?.hint).toBe("Did you mean 'alpha'?");
    expect(at('callbacks[1].options.maxNorm')?.message).toMatch(/missing/);
    expect(at('optimizer.learningRate')).toMatchObject({ expected: 'more than 0', found: '0' });
    expect(at('data.truncationMode')?.expected).toBe('one of "keep_start", "keep_end", "drop_turns", "error"');
  });

  it('gets a hint with the path of a misplaced key', async () => {
    const error = await rejection({
      ...minimal,
      learningRate: 1,
      warmupStep: 1,
      training: { weightDecay: 0.1, maxLength: 3 },
    });
    expect(error.problems.map((problem) => problem.hint)).toEqual(
      expect.arrayContaining([
        'It belongs at optimizer.learningRate. Write "optimizer": { "learningRate": 1 }.',
        'It belongs at optimizer.weightDecay. Write "optimizer": { "weightDecay": 0.1 }.',
        'It belongs at data.maxLength. Write "data": { "maxLength": 3 }.',
        'Did you mean schedule.warmupSteps?',
      ]),
    );
  });

  it('is reported with the missing keys', async () => {
    expect(pathsOf(await rejection({}))).toEqual(['model', 'data', 'strategy']);
    expect(pathsOf(await rejection({ ...minimal, data: {} }))).toEqual(['data.train']);
    expect(pathsOf(await rejection({ ...minimal, strategy: { options: {} } }))).toEqual(['strategy.use']);
    expect(pathsOf(await rejection({ ...minimal, model: {} }))).toEqual(['model']);
  });

  it('is reported with a plugin that cannot be found, alone or among other problems', async () => {
    const alone = await rejection({ ...minimal, strategy: 'lorra' });
    expect([alone.code, alone.hint, alone.place]).toEqual([
      'PLUGIN_NOT_FOUND',
      "Did you mean 'lora'?",
      { path: 'strategy.use' },
    ]);
    expect((await rejection({ ...minimal, strategy: 'lroa' })).hint).toBe("Did you mean 'lora'?");
    const among = await rejection({ ...minimal, strategy: 'lorra', colour: 1, companions: ['nothing-of-that-name'] });
    expect(among.code).toBe('CONFIG_INVALID');
    expect(pathsOf(among)).toEqual(['strategy.use', 'companions[0].use', 'colour']);
    expect(among.problems[1]?.hint).toContain('install it in the folder of the configuration');
  });

  it.each([
    [{ training: { evalSteps: 5 } }, ['training.evalSteps']],
    [{ training: { saveStrategy: 'no', saveSteps: 5 } }, ['training.saveSteps']],
    [{ training: { evalStrategy: 'steps' } }, ['training.evalStrategy']],
    [{ data: { train: 'a', eval: 'b' }, training: { loadBestModelAtEnd: true } }, ['training.loadBestModelAtEnd']],
    [{ training: { metricForBestModel: 'bleu' } }, ['training.metricForBestModel']],
  ])('is reported if it contradicts itself: %j', async (more, paths) => {
    expect(pathsOf(await rejection({ ...minimal, ...more }))).toEqual(paths);
  });

  it.each([[null], [[]], ['run'], [3]])('is reported if it is not an object: %j', async (value) => {
    expect((await rejection(value)).code).toBe('CONFIG_INVALID');
  });

  it('is reported with lines and columns if it is a file', async () => {
    const file = join(folder, 'wrong.json');
    writeFileSync(
      file,
      '{\n  "model": "m",\n  "data": { "train": "t" },\n  "strategy": { "use": "lora",\n    "options": { ' +
        '"rank": 0 } }\n}\n',
    );
    const registry = createRegistry(builtIns);
    const error: unknown = await resolveConfig(await readConfigFile(file), {
      defaults,
      load: (kind, use) => loadPlugin(kind, use, { registry, baseFolder: folder }),
    }).catch((failure: unknown) => failure);
    expect((error as WhetstoneError).problems[0]?.place).toEqual({
      file,
      line: 5,
      column: 18,
      path: 'strategy.options.rank',
    });
  });
});

describe('options of TRL', () => {
  it('are renamed, with a notice', async () => {
    const { config, notices } = await resolveObject({
      model_name_or_path: 'm',
      data: { train: 'train.jsonl', max_length: 64 },
      strategy: { use: 'lora', options: { target_modules: 'q_proj' } },
      callbacks: [],
      per_device_train_batch_size: 2,
      learning_rate: 1e-3,
      weight_decay: 0.1,
      lr_scheduler_type: 'cosine',
      warmup_steps: 5,
      max_grad_norm: 0.5,
      bf16: true,
      output_dir: 'out',
      training: { num_train_epochs: 1 },
    });
    expect(config.model.path).toBe('m');
    expect(config.data.maxLength).toBe(64);
    expect(config.strategy.options['targetModules']).toBe('q_proj');
    expect(config.training).toMatchObject({ perDeviceTrainBatchSize: 2, numTrainEpochs: 1 });
    expect(config.optimizer).toMatchObject({ learningRate: 1e-3, weightDecay: 0.1 });
    expect(config.schedule).toEqual({ use: 'cosine', warmupSteps: 5 });
    expect(config.callbacks).toEqual([{ use: 'gradient-clipping', options: { maxNorm: 0.5 } }]);
    expect(config.backend.matmul).toBe('bfloat16');
    expect(config.output.folder).toBe(join(base, 'out'));
    expect(notices).toContain('learning_rate is read as optimizer.learningRate.');
    expect(notices).toHaveLength(12);
  });

  it('include the names of PEFT, in the options and flat', async () => {
    for (const names of [
      { strategy: { use: 'lora', options: { r: 16, lora_alpha: 32 } } },
      { strategy: { use: 'lora' }, lora_r: 16, lora_alpha: 32 },
    ]) {
      const { config } = await resolveObject({ ...minimal, ...names });
      expect(config.strategy.options).toMatchObject({ rank: 16, alpha: 32 });
    }
  });

  it('accept a share of the steps as in TRL', async () => {
    const { config } = await resolveObject({
      ...minimal,
      data: { train: 'a', eval: 'b' },
      eval_strategy: 'steps',
      eval_steps: 0.5,
    });
    expect(config.training).toMatchObject({ evalStrategy: 'steps', evalSteps: 0.5 });
  });

  it.each([
    ['packing', true, 'It belongs at data.packing. Write "data": { "packing": true }.'],
    ['seed', 7, 'It belongs at training.seed. Write "training": { "seed": 7 }.'],
    ['evalSteps', 0.5, 'It belongs at training.evalSteps. Write "training": { "evalSteps": 0.5 }.'],
  ])('that are also ours but misplaced get the line to write: %s', async (key, value, hint) => {
    const error = await rejection({ ...minimal, [key]: value });
    expect(error.problems.map((problem) => problem.hint)).toContain(hint);
  });

  it('that belong at the top level get the line to write', async () => {
    const error = await rejection({ ...minimal, data: { train: 'a', chatTemplatePath: 'x.jinja' } });
    expect(error.problems.map((problem) => problem.hint)).toEqual([
      'It belongs at the top level of the configuration. Write "chatTemplatePath": "x.jinja" there.',
    ]);
  });

  it('do not replace existing keys, and are reported under their own names', async () => {
    expect(pathsOf(await rejection({ ...minimal, seed: 1, learning_rate: 1, optimizer: { learningRate: 2 } }))).toEqual(
      expect.arrayContaining(['learning_rate', 'seed']),
    );
  });
});

describe('composeSchema', () => {
  it('returns a valid schema that accepts short forms', () => {
    const schema = composeSchema(builtIns.map((plugin) => ({ use: plugin.name, plugin })));
    const validate = compileSchema(schema);
    const errors = () => validate.errors?.map((error) => `${error.instancePath} ${error.message}`);
    expect(validate({ ...minimal, backend: 'cpu', $schema: './x.json' }), String(errors())).toBe(true);
    expect(
      validate({
        ...minimal,
        data: { train: ['a', 'b'], eval: null },
        callbacks: [{ use: 'gradient-clipping', options: { maxNorm: 1 } }],
        optimizer: { use: 'adamw', weightDecay: 1 },
      }),
      String(errors()),
    ).toBe(true);
    expect(validate({ ...minimal, strategy: { use: 'lora', options: { ranks: 1 } } })).toBe(false);
    expect(JSON.parse(JSON.stringify(schema))).toEqual(schema);
  });
});

describe('openPlugin', () => {
  it('fills in the defaults of a plugin that other options name', async () => {
    const { openPlugin } = await resolveObject(minimal);
    expect((await openPlugin('data-source', 'conversations', { path: 'old.jsonl' }, ['data'])).options).toEqual({
      path: 'old.jsonl',
      limit: null,
    });
  });
  it('reports their problems with their paths', async () => {
    const { openPlugin } = await resolveObject(minimal);
    const error: unknown = await openPlugin('data-source', 'conversations', { paht: 'old.jsonl' }, [
      'companions',
      0,
      'options',
      'data',
    ]).catch((failure: unknown) => failure);
    expect(pathsOf(error as WhetstoneError)).toEqual(
      expect.arrayContaining(['companions[0].options.data.paht', 'companions[0].options.data.path']),
    );
    await expect(openPlugin('data-source', 'conversatons', {}, ['data'])).rejects.toThrow(
      /The data-source 'conversatons' was not found/,
    );
  });
});
