import '@tensorflow/tfjs-backend-cpu';
import { existsSync } from 'node:fs';
import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { provide, Trainer, type ServiceRegistration } from '@whetstone/core';
import {
  BATCH_SOURCE_FACTORY,
  CLOCK,
  MODEL_LOADER,
  TENSOR_BACKEND,
  LOGGER,
  type DataSource,
  type LanguageModel,
  type Plugin,
  type RunReport,
  type StageInfo,
  type StepReport,
} from '@whetstone/core/contract';
import { openSafetensors } from '@whetstone/core/safetensors';
import { loadLanguageModel } from '@whetstone/models';
import { beforeAll, describe, expect, it } from 'vitest';
import { temporaryFolder } from '../support/temporary-folder.js';
import { loadedOf, shuffledSource, tinyModel } from '../support/training.js';
import { builtIns, recordingLogger } from './support.js';

beforeAll(() => tf.setBackend('cpu'));

const source: Plugin = {
  apiVersion: 2,
  kind: 'data-source',
  name: 'numbered',
  configSchema: {
    type: 'object',
    properties: { path: {}, seed: { type: 'integer', default: 1 } },
    additionalProperties: false,
  },
  create: ({ path, seed }: { readonly path?: string; readonly seed: number }) => {
    if (path === 'missing.jsonl') throw new Error('missing.jsonl does not exist');
    return { conversations: () => [], unreadable: [], files: [], seed } as DataSource;
  },
};

/**
 * A trainer on random tokens, by the seed of the source: 6 rows in batches of two, three steps per epoch. The model is
 * read from a folder if one is given.
 */
function trainerOf(config: object, loads: string[] = [], services: readonly ServiceRegistration[] = []): Trainer {
  return new Trainer(
    { model: 'tiny', callbacks: [], loggers: [], optimizer: { learningRate: 0.01 }, schedule: 'constant', ...config },
    {
      baseFolder: '/nowhere',
      plugins: [...builtIns, source],
      defaults: { dataSource: 'numbered' },
      services: [
        provide(TENSOR_BACKEND, { backend: 'cpu', engine: 'cpu', reason: 'a test', barrier: () => undefined }),
        provide(LOGGER, recordingLogger()),
        provide(MODEL_LOADER, {
          load: async (folder) => {
            loads.push(folder);
            return loadedOf(existsSync(join(folder, 'config.json')) ? await loadLanguageModel(folder) : tinyModel());
          },
        }),
        provide(BATCH_SOURCE_FACTORY, {
          create: async (given) => shuffledSource(6, 2, (given as DataSource & { readonly seed: number }).seed),
        }),
        ...services,
      ],
    },
  );
}

const data = (seed: number): object => ({ train: { use: 'numbered', options: { seed } } });
const lora = { use: 'lora', options: { rank: 2, alpha: 4, dropout: 0.1 } };
const training = { numTrainEpochs: 1, saveStrategy: 'steps', saveSteps: 2 };

/** Reads the tensors of a run's adapter or model. */
async function resultOf(folder: string): Promise<Record<string, number[]>> {
  const file = existsSync(join(folder, 'adapter'))
    ? join(folder, 'adapter', 'adapter_model.safetensors')
    : join(folder, 'model', 'model.safetensors');
  const reader = await openSafetensors(file);
  const tensors: Record<string, number[]> = {};
  for (const name of reader.tensors.keys()) tensors[name] = Array.from(await reader.readFloat32(name));
  await reader.close();
  return tensors;
}

async function runAll(trainer: Trainer): Promise<{ readonly steps: StepReport[]; readonly report: RunReport }> {
  const steps: StepReport[] = [];
  const reports = trainer.reports();
  for (;;) {
    const next = await reports.next();
    if (next.done === true) return { steps, report: next.value };
    steps.push(next.value);
  }
}

const plain = ({ seconds: _seconds, ...report }: StepReport): object => report;

const kinds: Readonly<Record<string, readonly object[]>> = {
  'one adapter': [
    { name: 'general', data: data(1) },
    { name: 'domain', data: data(2), optimizer: { learningRate: 0.004 } },
    { name: 'style', data: data(3), training: { numTrainEpochs: 2 } },
  ],
  'PiSSA, whose initial adapter is split off the weights': [1, 2].map((seed) => ({
    name: `s${seed}`,
    data: data(seed),
    strategy: { use: 'lora', options: { rank: 2, initLoraWeights: 'pissa' } },
  })),
  'the model itself': [
    { name: 'general', data: data(1), strategy: 'full' },
    { name: 'domain', data: data(2), strategy: 'full' },
  ],
  'the model itself, then an adapter': [
    { name: 'general', data: data(1), strategy: 'full' },
    { name: 'domain', data: data(2) },
    { name: 'style', data: data(3) },
  ],
  'two different adapters, then a prefix': [
    { name: 'general', data: data(1) },
    { name: 'domain', data: data(2), strategy: { use: 'lora', options: { rank: 3, useDora: true } } },
    { name: 'style', data: data(3), strategy: 'p-tuning-v2' },
  ],
};

describe.each(Object.keys(kinds))('stages: %s', (kind) => {
  const stages = kinds[kind] ?? [];
  const config = (folder: string | null, more: object = {}): object => ({
    strategy: lora,
    data: data(9),
    stages,
    training: { ...training, ...more },
    output: { folder },
  });

  it('start from the previous stage, write to one folder, and resume exactly in the middle of any stage', async () => {
    const before = tf.memory().numTensors;
    const folder = join(await temporaryFolder(), 'run');
    const uninterrupted = await runAll(trainerOf(config(folder)));
    const result = await resultOf(folder);
    const names = stages.map((stage) => (stage as { readonly name: string }).name);
    expect([...new Set(uninterrupted.steps.map(({ stage }) => stage))]).toEqual(names);
    expect(uninterrupted.report.stages?.map(({ stage }) => stage)).toEqual(names);
    expect(uninterrupted.report.steps).toBe(uninterrupted.steps.length);
    expect((await readdir(folder)).filter((name) => /^\d/.test(name))).toEqual(
      names.map((name, index) => `${index + 1}-${name}`),
    );
    // A run without an output folder transfers the same state in memory.
    expect((await runAll(trainerOf(config(null, { saveStrategy: 'epoch', saveSteps: 500 })))).steps.map(plain)).toEqual(
      uninterrupted.steps.map(plain),
    );

    // A checkpoint is written after the second step of each stage and at its end.
    for (const [stop, resumeAt] of [
      [1, 0],
      [5, 5],
      [7, 6],
    ] as const) {
      if (stop >= uninterrupted.steps.length) continue;
      const cut = join(await temporaryFolder(), 'run');
      let done = 0;
      for await (const _ of trainerOf(config(cut))) if (++done === stop) break;
      const loads: string[] = [];
      const resumed = await runAll(trainerOf(config(cut, { resumeFromCheckpoint: true }), loads));
      expect(resumed.steps.map(plain), `after step ${stop}`).toEqual(uninterrupted.steps.slice(resumeAt).map(plain));
      expect(await resultOf(cut)).toEqual(result);
      expect(resumed.report.stages?.map(({ stage, steps }) => [stage, steps])).toEqual(
        uninterrupted.report.stages?.map(({ stage, steps }) => [stage, steps]),
      );
      expect(new Set(loads).size).toBe(loads.length);
    }
    expect(tf.memory().numTensors).toBe(before);
  }, 300_000);
});

describe('a staged run', () => {
  const twoStages = [
    { name: 'general', data: data(1) },
    { name: 'domain', data: data(2) },
  ];

  it('continues with the adapter, like one adapter trained on both data sets in order', async () => {
    const folder = join(await temporaryFolder(), 'run');
    await runAll(
      trainerOf({
        strategy: { use: 'lora', options: { rank: 2 } },
        stages: twoStages,
        training: { numTrainEpochs: 1, saveStrategy: 'no' },
        output: { folder },
      }),
    );
    const [first, last] = [await resultOf(join(folder, '1-general')), await resultOf(folder)];
    const alone = join(await temporaryFolder(), 'run');
    await runAll(
      trainerOf({
        strategy: { use: 'lora', options: { rank: 2 } },
        data: data(1),
        training: { numTrainEpochs: 1, saveStrategy: 'no' },
        output: { folder: alone },
      }),
    );
    expect(first).toEqual(await resultOf(alone));
    expect(last).not.toEqual(first);
  });

  it(
    'starts from the result of the previous stage: the same adapter, one merged into the model, or the ' +
      'model itself',
    async () => {
      /** Returns the loss of the second stage's first step, and that on the same data without a previous stage. */
      const losses = async (first: object, second: object): Promise<readonly [number, number]> => {
        const shared = { training: { numTrainEpochs: 1, saveStrategy: 'no' } };
        const { steps } = await runAll(
          trainerOf({
            ...shared,
            stages: [
              { name: 'general', data: data(1), ...first },
              { name: 'domain', data: data(2), ...second },
            ],
          }),
        );
        const alone = await runAll(trainerOf({ ...shared, data: data(2), ...second }));
        return [steps.find(({ stage }) => stage === 'domain')?.loss ?? NaN, alone.steps[0]?.loss ?? NaN];
      };
      const adapter = (rank: number): object => ({
        strategy: { use: 'lora', options: { rank, alpha: 2 * rank, useDora: rank === 2 } },
      });
      const [continued, untrained] = await losses(adapter(2), adapter(2));
      const [merged] = await losses(adapter(2), adapter(3));
      const [underFull] = await losses(adapter(2), { strategy: 'full' });
      expect(Math.abs(continued - untrained)).toBeGreaterThan(0.01);
      expect(merged).toBeCloseTo(continued, 5);
      expect(underFull).toBeCloseTo(continued, 5);
      // A stage with a learning rate of 0 keeps the weights of the first stage.
      const folder = join(await temporaryFolder(), 'run');
      const still = { optimizer: { learningRate: 1e-30 } };
      await runAll(
        trainerOf({
          strategy: 'full',
          stages: [
            { name: 'general', data: data(1) },
            { name: 'domain', data: data(2), ...still },
          ],
          training: { numTrainEpochs: 1, saveStrategy: 'no' },
          output: { folder },
        }),
      );
      expect(await resultOf(folder)).toEqual(await resultOf(join(folder, '1-general')));
    },
  );

  it('that resumes from an earlier stage moves the later ones aside', async () => {
    const folder = join(await temporaryFolder(), 'run');
    const config = (resumeFromCheckpoint: string | null): object => ({
      strategy: lora,
      stages: twoStages,
      training: { ...training, resumeFromCheckpoint },
      output: { folder },
    });
    await runAll(trainerOf(config(null)));
    const before = await resultOf(folder);
    const { steps } = await runAll(trainerOf(config(join(folder, '1-general', 'checkpoint-2'))));
    expect(steps.map(({ stage, step }) => [stage, step])).toEqual([
      ['general', 3],
      ['domain', 1],
      ['domain', 2],
      ['domain', 3],
    ]);
    expect(await readdir(join(folder, '1-general', 'abandoned-1'))).toEqual(['checkpoint-3']);
    const abandoned = join(folder, 'abandoned-1', '2-domain');
    expect((await readdir(abandoned)).filter((name) => name.startsWith('checkpoint'))).toEqual([
      'checkpoint-2',
      'checkpoint-3',
    ]);
    expect(await resultOf(folder)).toEqual(before);
  });

  it('stores the folder of the base model in the adapter', async () => {
    const folder = join(await temporaryFolder(), 'run');
    await runAll(
      trainerOf({
        strategy: lora,
        stages: [
          { name: 'general', data: data(1), strategy: 'full' },
          { name: 'domain', data: data(2) },
        ],
        training: { numTrainEpochs: 1, saveStrategy: 'no' },
        output: { folder },
      }),
    );
    const config = JSON.parse(await readFile(join(folder, 'adapter', 'adapter_config.json'), 'utf8')) as {
      readonly base_model_name_or_path: string;
    };
    expect(config.base_model_name_or_path).toBe(join(folder, '1-general', 'model'));
    const model: LanguageModel = await loadLanguageModel(config.base_model_name_or_path);
    expect(await model.parameters.get('lm_head.weight')?.data()).not.toEqual(
      await tinyModel().parameters.get('lm_head.weight')?.data(),
    );
    model.dispose();
  });

  it("passes the current stage to the application's callbacks, and disposes them once", async () => {
    const told: (StageInfo | undefined)[] = [];
    let disposed = 0;
    const trainer = new Trainer(
      {
        model: 'tiny',
        strategy: 'full',
        loggers: [],
        callbacks: [],
        stages: twoStages,
        training: { maxSteps: 1, saveStrategy: 'no' },
      },
      {
        plugins: [...builtIns, source],
        services: [
          provide(TENSOR_BACKEND, { backend: 'cpu', engine: 'cpu', reason: 'a test', barrier: () => undefined }),
          provide(MODEL_LOADER, { load: async () => loadedOf(tinyModel()) }),
          provide(BATCH_SOURCE_FACTORY, { create: async () => shuffledSource(12, 2) }),
          provide(LOGGER, recordingLogger()),
        ],
        callbacks: [{ onRunStart: ({ stage }) => void told.push(stage), dispose: () => void disposed++ }],
      },
    );
    await trainer.run();
    expect(told).toEqual([
      { name: 'general', index: 0, count: 2 },
      { name: 'domain', index: 1, count: 2 },
    ]);
    expect(disposed).toBe(1);
    expect(
      (await trainer.resolve()).stages?.map(({ name, config }) => [name, config.data.train.options['seed']]),
    ).toEqual([
      ['general', 1],
      ['domain', 2],
    ]);
  });

  it.each([
    ['an empty list', [], /at least one stage/],
    ['a key that all stages share', [{ name: 'a', model: 'other' }], /Unknown key 'model'/],
    ['a duplicate name', [{ name: 'a' }, { name: 'a' }], /have the name 'a'/],
    ['a name that is not a folder name', [{ name: '../a' }], /folder/],
  ])('rejects %s', async (_, stages, message) => {
    await expect(trainerOf({ strategy: lora, data: data(1), stages }).run()).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
      problems: [{ message: expect.stringMatching(message) as string }],
    });
  });

  it('reports the errors of the list, of the options and of the data of all stages together', async () => {
    const error = await trainerOf({
      strategy: lora,
      data: data(1),
      stages: [
        { name: 'a', strategy: { use: 'lora', options: { rnk: 2 } } },
        { name: 'a', data: { train: 'missing.jsonl' } },
        { name: 'b', data: { train: 'missing.jsonl' } },
      ],
    })
      .run()
      .catch((reason: unknown) => reason);
    expect(error).toMatchObject({
      code: 'CONFIG_INVALID',
      message: 'The stages have 3 problems.',
      problems: [
        { message: "Two stages have the name 'a'." },
        { message: expect.stringMatching(/^Stage 'a': .*rnk/) as string },
        { message: expect.stringMatching(/^Stage 'a': .*missing.jsonl does not exist/) as string },
      ],
    });
  });

  it('reports one problem of several stages as one', async () => {
    await expect(
      trainerOf({ strategy: lora, data: data(1), backnd: 'cpu', stages: [{ name: 'a' }, { name: 'b' }] }).run(),
    ).rejects.toMatchObject({ message: 'The stages have 1 problem.', problems: [{}] });
  });

  it('begins each stage before its data is read', async () => {
    const order: string[] = [];
    const factory = { create: async () => (order.push('data'), shuffledSource(6, 2, 1)) };
    const trainer = trainerOf(
      { strategy: lora, stages: twoStages, training: { maxSteps: 1, saveStrategy: 'no' } },
      [],
      [provide(BATCH_SOURCE_FACTORY, factory)],
    );
    trainer.on('stage:start', ({ name, index, count }) => order.push(`${name} ${index} of ${count}`));
    trainer.on('run:start', () => order.push('start'));
    await trainer.run();
    expect(order).toEqual(['general 0 of 2', 'data', 'start', 'domain 1 of 2', 'data', 'start']);
  });

  it('names the stage of a mistake before any stage is trained', async () => {
    await expect(
      trainerOf({
        strategy: lora,
        data: data(1),
        stages: [{ name: 'a' }, { name: 'b', strategy: { use: 'lora', options: { rnk: 2 } } }],
      }).run(),
    ).rejects.toMatchObject({ code: 'CONFIG_INVALID', message: expect.stringContaining("Stage 'b'") as string });
    const steps: number[] = [];
    const missing = trainerOf({
      strategy: lora,
      data: data(1),
      stages: [{ name: 'a' }, { name: 'b', data: { train: 'missing.jsonl' } }],
    }).on('step', ({ step }) => steps.push(step));
    await expect(missing.run()).rejects.toThrow('missing.jsonl does not exist');
    expect(steps).toEqual([]);
  });

  it('that is interrupted between two stages keeps the first one, and continues with the second', async () => {
    const folder = join(await temporaryFolder(), 'run');
    const config = { strategy: lora, stages: twoStages, training, output: { folder } };
    const controller = new AbortController();
    const trainer = trainerOf(config);
    trainer.on('run:start', ({ stage }) => {
      if (stage?.index === 1) controller.abort();
    });
    await expect(trainer.run({ signal: controller.signal })).rejects.toMatchObject({
      code: 'INTERRUPTED',
      details: { stage: 'domain', step: 0, checkpoint: null },
      hint: expect.stringContaining('stages before it are complete') as string,
    });
    const resumed = trainerOf({ ...config, training: { ...training, resumeFromCheckpoint: true } });
    expect((await runAll(resumed)).steps.map(({ stage }) => stage)).toEqual(['domain', 'domain', 'domain']);
  });

  it('rejects a prefix before a different strategy, because it cannot be merged into the model', async () => {
    await expect(
      trainerOf({
        stages: [
          { name: 'a', data: data(1), strategy: 'p-tuning-v2' },
          { name: 'b', data: data(2), strategy: lora },
        ],
      }).run(),
    ).rejects.toMatchObject({ code: 'CONFIG_CONFLICT' });
  });

  it('rejects resuming in a folder with different stages', async () => {
    const folder = join(await temporaryFolder(), 'run');
    await runAll(
      trainerOf({
        strategy: lora,
        stages: twoStages,
        training: { maxSteps: 1, saveStrategy: 'no' },
        output: { folder },
      }),
    );
    const other = trainerOf({
      strategy: lora,
      stages: [{ name: 'x', data: data(1) }],
      training: { maxSteps: 1, saveStrategy: 'no', resumeFromCheckpoint: true },
      output: { folder },
    });
    await expect(other.run()).rejects.toMatchObject({
      code: 'CHECKPOINT_INVALID',
      expected: 'x',
      found: 'general, domain',
    });
  });
});

describe('the date that the template of a staged run writes', () => {
  it('is that of its start in all stages, also if it is resumed on another day', async () => {
    let day = 1;
    const times: unknown[] = [];
    const services = [
      provide(CLOCK, { now: () => performance.now() / 1000, timestamp: () => `2024-03-0${day++}T12:00:00.000Z` }),
      provide(MODEL_LOADER, {
        load: async (folder: string, { templateTime = null }: { readonly templateTime?: Date | null } = {}) => {
          times.push(templateTime?.toISOString());
          const { model, renderer, tokenizer } = loadedOf(
            existsSync(join(folder, 'config.json')) ? await loadLanguageModel(folder) : tinyModel(),
          );
          return { model, tokenizer, renderer: { ...renderer, time: templateTime?.toISOString() } };
        },
      }),
    ];
    const folder = await temporaryFolder();
    const staged = (resumeFromCheckpoint: boolean): Trainer =>
      trainerOf(
        {
          output: { folder },
          training: { ...training, resumeFromCheckpoint },
          stages: [
            { name: 'one', data: data(1), strategy: lora },
            { name: 'two', data: data(2), strategy: 'full' },
          ],
        },
        [],
        services,
      );
    // Ends in the second stage, without a checkpoint.
    for await (const { stage } of staged(false)) if (stage === 'two') break;
    await staged(true).run();
    expect(times).toEqual(Array.from({ length: 3 }, () => '2024-03-01T12:00:00.000Z'));
  });
});
