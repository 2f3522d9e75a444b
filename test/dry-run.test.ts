import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { provide } from '@whetstone/core';
import { LOGGER } from '@whetstone/core/contract';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createTinyModel } from '../packages/cli/src/tiny-model.js';
import { Trainer, untypedConfig } from '../packages/cli/src/trainer.js';
import { recordingLogger } from './trainer/support.js';

const folder = mkdtempSync(join(tmpdir(), 'whetstone-dry-run-'));
afterAll(() => rmSync(folder, { recursive: true }));
const rows = Array.from({ length: 6 }, (_, index) =>
  JSON.stringify({ prompt: `question ${index}`, completion: `answer ${index}` }),
);
beforeAll(async () => {
  await createTinyModel(join(folder, 'tiny'), { hiddenSize: 16, layers: 1 });
  writeFileSync(join(folder, 'train.jsonl'), `${rows.join('\n')}\n`);
  writeFileSync(join(folder, 'eval.jsonl'), '{"prompt":"where is the station","completion":"over there"}\n');
  writeFileSync(join(folder, 'run.json'), '{}');
});

const trainerOf = (more: object = {}): Trainer =>
  new Trainer(
    untypedConfig({
      model: 'tiny',
      backend: 'cpu',
      data: { train: 'train.jsonl' },
      strategy: { use: 'lora', options: { rank: 2, dropout: 0.1 } },
      optimizer: { learningRate: 1e-3 },
      schedule: { use: 'linear', warmupSteps: 2 },
      training: { numTrainEpochs: 2, perDeviceTrainBatchSize: 2, saveSteps: 4 },
      output: { folder: 'run' },
      ...more,
    }),
    { baseFolder: folder, services: [provide(LOGGER, recordingLogger())] },
  );
const files = (): string[] => readdirSync(folder, { recursive: true }).map(String).toSorted();
const codeOf = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => null,
    (error: { readonly code?: unknown }) => error.code,
  );

describe('a dry run', () => {
  it('says what the run then does, and writes nothing', async () => {
    const before = files();
    const [plan, ...others] = await trainerOf().plan({ samples: 2 });
    expect(files()).toEqual(before);
    expect(others).toEqual([]);
    // 6 rows in batches of 2, twice; the rate rises over 2 steps and falls over 4.
    expect(plan).toMatchObject({
      totalSteps: 6,
      stepsPerEpoch: 3,
      epochs: 2,
      startStep: 0,
      learningRate: { first: 0, highest: 1e-3, last: 2.5e-4 },
      evaluations: 0,
      checkpoints: 2,
      data: { train: { conversations: 6, batchesPerEpoch: 3, unreadable: 0 }, eval: null },
      outputFolder: join(folder, 'run'),
    });
    expect(plan?.memory.bytes).toBeGreaterThan(1e6);
    expect(plan?.memory.bytes).toSatisfy(Number.isInteger);
    const reports = [];
    const trainer = trainerOf();
    let started: object = {};
    trainer.on('run:start', (info) => void (started = info));
    for await (const report of trainer) reports.push(report);
    expect(started).toMatchObject({ trainableParameters: plan?.trainableParameters, totalSteps: 6 });
    expect([reports[0]?.learningRate, reports.at(-1)?.learningRate]).toEqual([0, plan?.learningRate.last]);
    expect(files().filter((name) => /checkpoint-\d+$/.test(name))).toHaveLength(plan?.checkpoints ?? 0);
  });

  it('shows the first samples with what is learned', async () => {
    const [plan] = await trainerOf({ output: { folder: 'other' } }).plan({ samples: 2 });
    expect(plan?.samples).toHaveLength(2);
    for (const { spans, tokens, supervisedTokens } of plan?.samples ?? []) {
      const learned = spans.filter((span) => span.learned);
      expect(spans.reduce((sum, span) => sum + span.tokens, 0)).toBe(tokens);
      expect(learned.reduce((sum, span) => sum + span.tokens, 0)).toBe(supervisedTokens);
      const text = learned.map((span) => span.text).join('');
      expect(text).toMatch(/answer \d/);
      expect(text).not.toContain('question');
    }
  });

  it('plans a resumed run from its checkpoint, without a change of its folder', async () => {
    const before = files();
    const training = { numTrainEpochs: 3, perDeviceTrainBatchSize: 2, saveSteps: 4, resumeFromCheckpoint: true };
    const [plan] = await trainerOf({ training }).plan({ samples: 0 });
    // One checkpoint after step 8, and one at the end; that of step 4 exists.
    expect(plan).toMatchObject({ startStep: 6, totalSteps: 9, checkpoints: 2, samples: [] });
    expect(files()).toEqual(before);
  });

  // 6 steps of 3 an epoch; the last step is evaluated and saved in any case, unless nothing is.
  it.each([
    ['no', 'no', 0, 0],
    ['ends', 'end', 2, 1],
    ['epoch', 'epoch', 2, 2],
    ['steps', 'steps', 2, 2],
  ])('counts what evalStrategy "%s" and saveStrategy "%s" do, as the run does', async (evaluate, save, ...counts) => {
    const every = evaluate === 'steps' ? { evalSteps: 4, saveSteps: 4 } : {};
    const strategies = { evalStrategy: evaluate, saveStrategy: save, ...every };
    const training = { numTrainEpochs: 2, perDeviceTrainBatchSize: 2, ...strategies };
    const data = { train: 'train.jsonl', eval: 'eval.jsonl' };
    const output = { folder: `counted-${evaluate}` };
    const trainer = trainerOf({ data, training, output });
    const [plan] = await trainer.plan({ samples: 0 });
    expect([plan?.evaluations, plan?.checkpoints]).toEqual(counts);
    const made: string[] = [];
    const run = trainerOf({ data, training, output });
    run.on('evaluate', () => made.push('evaluate'));
    run.on('save', () => made.push('save'));
    for await (const report of run) expect(report.totalSteps).toBe(6);
    expect(['evaluate', 'save'].map((event) => made.filter((each) => each === event).length)).toEqual(counts);
  });

  it('plans every stage', async () => {
    const stages = [{ name: 'first' }, { name: 'second', strategy: 'full', training: { maxSteps: 2 } }];
    const before = files();
    const names: string[] = [];
    const trainer = trainerOf({ stages, output: { folder: 'staged' } });
    trainer.on('stage:start', ({ name }) => names.push(name));
    const plans = await trainer.plan({ samples: 0 });
    expect(plans.map(({ stage, totalSteps }) => [stage?.name, totalSteps])).toEqual([
      ['first', 6],
      ['second', 2],
    ]);
    expect(names).toEqual(['first', 'second']);
    expect(files()).toEqual(before);
  });

  it.each([
    ['an output folder with a run', {}, 'OUTPUT_EXISTS'],
    [
      'targets that match nothing',
      { strategy: { use: 'lora', options: { targetModules: ['q_porj'] } }, output: { folder: 'x' } },
      'STRATEGY_TARGETS_NOTHING',
    ],
    ['a missing file', { data: { train: 'none.jsonl' }, output: { folder: 'x' } }, 'FILE_NOT_FOUND'],
    [
      'a prefix before another strategy',
      { stages: [{ name: 'a', strategy: 'p-tuning-v2' }, { name: 'b' }], output: { folder: 'x' } },
      'CONFIG_CONFLICT',
    ],
    [
      'a file for later runs in the folder that they replace',
      { companions: [{ use: 'replay', options: { bufferFile: 'x/kept' } }], output: { folder: 'x' } },
      'CONFIG_CONFLICT',
    ],
    [
      'such a file of a later stage in the folder of all stages',
      {
        stages: [
          { name: 'a', data: { train: 'none.jsonl' } },
          { name: 'b', companions: [{ use: 'replay', options: { bufferFile: 'x/kept' } }] },
        ],
        output: { folder: 'x' },
      },
      // Together with the missing file of the first stage.
      'CONFIG_INVALID',
    ],
  ])('fails for %s, as the run does', async (_, more, code) => {
    const before = files();
    expect(await codeOf(trainerOf(more).plan())).toBe(code);
    expect(files()).toEqual(before);
  });
});
