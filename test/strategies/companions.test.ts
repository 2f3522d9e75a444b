import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createTinyModel, Trainer } from 'whetstone';
import type { StepReport } from '@whetstone/core/contract';

/** Rows of one of two conflicting tasks: replies that repeat one letter. */
const rows = (letter: string): string =>
  Array.from({ length: 8 }, (_, index) =>
    JSON.stringify({
      messages: [
        { role: 'user', content: `Say it, ${index}.` },
        { role: 'assistant', content: letter.repeat(6) },
      ],
    }),
  ).join('\n');

describe('companion strategies in a run', () => {
  let folder = '';
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'whetstone-companions-'));
    await createTinyModel(join(folder, 'tiny'), { hiddenSize: 32, layers: 1 });
    await writeFile(join(folder, 'old.jsonl'), rows('a'));
    await writeFile(join(folder, 'new.jsonl'), rows('b'));
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  async function train(
    name: string,
    more: object,
  ): Promise<{ readonly steps: readonly StepReport[]; readonly evalLoss: number | null; readonly folder: string }> {
    const steps: StepReport[] = [];
    const trainer = new Trainer({
      model: join(folder, 'tiny'),
      backend: 'cpu',
      data: { train: join(folder, 'new.jsonl'), eval: join(folder, 'old.jsonl'), leakage: 'off' },
      strategy: 'full',
      loggers: [],
      optimizer: { learningRate: 5e-3 },
      training: { maxSteps: 9, perDeviceTrainBatchSize: 4, saveStrategy: 'no', evalStrategy: 'ends' },
      output: { folder: join(folder, 'runs', name) },
      ...more,
    });
    trainer.on('step', (report) => void steps.push(report));
    const report = await trainer.run();
    return { steps, evalLoss: report.evalLossAfter, folder: join(folder, 'runs', name) };
  }

  it('forget less of the old task than training alone', async () => {
    const first = await train('old', {
      data: { train: join(folder, 'old.jsonl'), eval: join(folder, 'old.jsonl'), leakage: 'off' },
    });
    const model = join(first.folder, 'model');
    const alone = await train('alone', { model });
    const fisherFile = join(folder, 'fisher.safetensors');
    const ewc = await train('ewc', {
      model,
      companions: [
        {
          use: 'ewc',
          options: { data: join(folder, 'old.jsonl'), lambda: 2000, samples: 8, fisherFile, reportEverySteps: 4 },
        },
      ],
    });
    const replay = await train('replay', {
      model,
      companions: [{ use: 'replay', options: { data: join(folder, 'old.jsonl'), ratio: 0.3 } }],
    });
    const both = await train('both', {
      model,
      companions: [
        { use: 'ewc', options: { lambda: 2000, fisherFile } },
        { use: 'replay', options: { data: [join(folder, 'old.jsonl')], ratio: 0.3 } },
      ],
    });

    expect(first.evalLoss).toBeLessThan(alone.evalLoss ?? NaN);
    for (const run of [ewc, replay, both]) expect(run.evalLoss).toBeLessThan(alone.evalLoss ?? NaN);
    expect(ewc.steps.map(({ metrics }) => metrics['ewcPenalty'])).toEqual(ewc.steps.map(() => expect.any(Number)));
    expect(ewc.steps.filter(({ metrics }) => 'retainedLoss' in metrics).map(({ step }) => step)).toEqual([1, 5, 9]);
    expect(existsSync(fisherFile)).toBe(true);
    expect(replay.steps.reduce((sum, { samples }) => sum + samples, 0)).toBeGreaterThan(9 * 4);
  }, 180_000);

  it('must not add evaluation data to training, but may measure losses on it', async () => {
    const data = { train: join(folder, 'new.jsonl'), eval: join(folder, 'old.jsonl') };
    const old = join(folder, 'old.jsonl');
    await expect(
      train('leaks', { data, companions: [{ use: 'replay', options: { data: old, ratio: 0.3 } }] }),
    ).rejects.toMatchObject({ code: 'DATA_LEAKAGE' });
    const training = { maxSteps: 1, perDeviceTrainBatchSize: 4, saveStrategy: 'no', evalStrategy: 'no' };
    expect(
      (await train('measures', { data, training, companions: [{ use: 'ewc', options: { data: old, samples: 2 } }] }))
        .steps,
    ).toHaveLength(1);
  });

  it('cannot own the parameters, and an owner cannot be a companion', async () => {
    await expect(train('wrong', { strategy: { use: 'replay', options: { data: 'old.jsonl' } } })).rejects.toMatchObject(
      { code: 'CONFIG_CONFLICT' },
    );
    await expect(train('wrong', { companions: [{ use: 'lora' }] })).rejects.toMatchObject({
      code: 'CONFIG_CONFLICT',
      message: expect.stringMatching(/'lora'.*'full'/),
    });
    await expect(
      train('wrong', {
        strategy: 'p-tuning-v2',
        companions: [{ use: 'ewc', options: { data: join(folder, 'old.jsonl'), on: 'effective-weights' } }],
      }),
    ).rejects.toMatchObject({
      code: 'CONFIG_CONFLICT',
      place: { path: 'companions[0]' },
      found: "'ewc' with 'p-tuning-v2'",
    });
    await expect(train('wrong', { companions: [{ use: 'replay', options: { ratio: 1.5 } }] })).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
    });
  });

  it('resume exactly', async () => {
    const companions = [
      { use: 'ewc', options: { data: join(folder, 'old.jsonl'), samples: 4 } },
      { use: 'replay', options: { data: join(folder, 'old.jsonl'), ratio: 0.4, priority: 'loss' } },
    ];
    const training = {
      maxSteps: 6,
      perDeviceTrainBatchSize: 4,
      saveStrategy: 'steps',
      saveSteps: 3,
      evalStrategy: 'ends',
    };
    const straight = await train('straight', { companions, training });
    const lossesOf = (steps: readonly StepReport[]): number[] => steps.map(({ loss }) => loss);
    const resumed = await train('resumed', {
      companions,
      training: { ...training, resumeFromCheckpoint: join(straight.folder, 'checkpoint-3') },
    });
    expect(lossesOf(resumed.steps)).toEqual(lossesOf(straight.steps).slice(3));
    expect(resumed.evalLoss).toBe(straight.evalLoss);
    expect(await readFile(join(resumed.folder, 'model', 'model.safetensors'))).toEqual(
      await readFile(join(straight.folder, 'model', 'model.safetensors')),
    );
  });
});
