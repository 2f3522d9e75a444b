import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { definePlugin, type EvaluationReport } from '@whetstone/core/contract';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createTinyModel } from './tiny-model.js';
import { Trainer, untypedConfig } from './trainer.js';

let folder: string;
const asked: { readonly prediction: string; readonly reference: string }[][] = [];

/** Notes what it is asked, and gives one number after the other. */
const scripted = (values: readonly number[]) => {
  let next = 0;
  return definePlugin({
    apiVersion: 2,
    kind: 'metric',
    name: 'scripted',
    configSchema: { type: 'object', additionalProperties: false },
    create: () => ({
      needs: 'replies',
      createAccumulator: () => {
        const pairs: (typeof asked)[number] = [];
        return {
          add: ({ reply, references: [reference] }) => void pairs.push({ prediction: reply, reference }),
          result: () => {
            asked.push(pairs);
            return { scripted: values[next++] ?? 0 };
          },
        };
      },
    }),
  });
};

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'whetstone-metrics-'));
  await createTinyModel(join(folder, 'tiny'), { hiddenSize: 32, layers: 1 });
  const row = (...contents: readonly string[]): string =>
    JSON.stringify({
      messages: contents.map((content, index) => ({ role: index % 2 === 0 ? 'user' : 'assistant', content })),
    });
  await writeFile(
    join(folder, 'train.jsonl'),
    ['hi 0', 'hi 1', 'hi 2', 'hi 3'].map((content) => row(content, 'hello')).join('\n'),
  );
  await writeFile(
    join(folder, 'eval.jsonl'),
    [
      row('where is the station', 'over there'),
      row('what do bees eat', 'honey', 'and ants?', 'what they find'),
      row('is it late', 'no'),
    ].join('\n'),
  );
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** Writes a metric plugin whose `create` has this body. */
const writeMetric = (name: string, body: string): Promise<void> =>
  writeFile(
    join(folder, `${name}.mjs`),
    `export default { apiVersion: 2, kind: 'metric', name: '${name}',
      configSchema: { type: 'object', additionalProperties: false }, create: () => (${body}) };`,
  );
beforeAll(async () => {
  await writeMetric(
    'rows',
    `{ needs: 'none', createAccumulator: (rows = 0) => ({ add: () => { rows++; }, result: () => ({ rows }) }) }`,
  );
  await writeMetric('old', `{ compute: () => ({ old: 1 }) }`);
  await writeMetric(
    'throws',
    `{ needs: 'none', createAccumulator: () => ({ add: () => { throw new Error('oops'); }, result: () => ({}) }) }`,
  );
});

async function train(
  evaluation: object,
  training: object,
  callbacks: readonly object[] = [],
  values: readonly number[] = [],
) {
  const reports: EvaluationReport[] = [];
  const trainer = new Trainer(
    untypedConfig({
      model: join(folder, 'tiny'),
      backend: 'cpu',
      data: { train: join(folder, 'train.jsonl'), eval: join(folder, 'eval.jsonl') },
      evaluation,
      strategy: { use: 'lora', options: { rank: 2 } },
      callbacks,
      training: { perDeviceTrainBatchSize: 2, saveStrategy: 'no', ...training },
      output: { folder: join(folder, 'run'), overwrite: true },
    }),
    { plugins: [scripted(values)] },
  );
  trainer.on('evaluate', (report) => void reports.push(report));
  asked.length = 0;
  return { report: await trainer.run(), reports };
}

describe('metrics of the configuration', () => {
  test("are computed from the model's replies at every evaluation, and logged", async () => {
    const { reports } = await train(
      { metrics: ['chrf', { use: 'distinct-n', options: { orders: [1] } }, 'scripted'], replies: 2, maxNewTokens: 4 },
      { maxSteps: 2, evalStrategy: 'steps', evalSteps: 1 },
      [],
      [7, 8],
    );
    expect(reports.map(({ metrics }) => metrics)).toEqual(
      [7, 8].map((value) => ({
        chrf: expect.any(Number) as number,
        distinct1: expect.any(Number) as number,
        scripted: value,
      })),
    );
    // The last answer of each conversation, of the first two.
    expect(asked.map((pairs) => pairs.map(({ reference }) => reference))).toEqual([
      ['over there', 'what they find'],
      ['over there', 'what they find'],
    ]);
    const lines = (await readFile(join(folder, 'run', 'metrics.jsonl'), 'utf8'))
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(lines.filter(({ type }) => type === 'evaluation').map(({ scripted: value }) => value)).toEqual([7, 8]);
  }, 60_000);

  test('early stopping and the best weights can use any of them', async () => {
    const stopping = { use: 'early-stopping', options: { metric: 'scripted', mode: 'max', patience: 2 } };
    const evaluation = { metrics: ['scripted'], replies: 1, maxNewTokens: 2 };
    const stopped = await train(
      evaluation,
      { maxSteps: 8, evalStrategy: 'steps', evalSteps: 1 },
      [stopping],
      [1, 5, 4, 3, 9],
    );
    expect(stopped.report.stopReason).toMatch(/scripted did not improve in 2 evaluations \(best 5 at step 2, now 3\)/);
    expect(stopped.report.steps).toBe(4);
    const bestStep = async (more: object): Promise<unknown> => {
      await train(
        evaluation,
        {
          maxSteps: 3,
          evalStrategy: 'steps',
          evalSteps: 1,
          saveStrategy: 'end',
          loadBestModelAtEnd: true,
          metricForBestModel: 'scripted',
          ...more,
        },
        [],
        [2, 5, 1],
      );
      return (
        JSON.parse(await readFile(join(folder, 'run', 'checkpoint-3', 'trainer_state.json'), 'utf8')) as {
          best_global_step: unknown;
        }
      ).best_global_step;
    };
    expect(await bestStep({})).toBe(2);
    expect(await bestStep({ greaterIsBetter: false })).toBe(3);
  }, 120_000);

  test.each([
    [
      'without evaluation data',
      { data: { train: 'train.jsonl' }, evaluation: { metrics: ['chrf'] } },
      /The metrics require evaluation data/,
    ],
    ['by a name that there is none of', { evaluation: { metrics: ['chrff'] } }, /chrf/],
    [
      'with options that it has not',
      { evaluation: { metrics: [{ use: 'distinct-n', options: { order: [1] } }] } },
      /orders/,
    ],
    ['not at all, but how many replies', { evaluation: { replies: 3 } }, /evaluation\.replies has no effect/],
    [
      'that need no replies, but how many replies',
      { evaluation: { metrics: ['./rows.mjs'], replies: 3 } },
      /evaluation\.replies has no effect: no metric needs replies/,
    ],
  ])('asked for %s are a mistake of the configuration', async (_, more, expected) => {
    const config = {
      baseFolder: folder,
      model: 'tiny',
      backend: 'cpu',
      data: { train: 'train.jsonl', eval: 'eval.jsonl' },
      strategy: 'lora',
      ...more,
    };
    const error: unknown = await new Trainer(untypedConfig(config)).run().catch((reason: unknown) => reason);
    expect(String(error)).toMatch(expected);
    expect(error).toMatchObject({ exitCode: 2 });
  });

  test('of which none needs replies are computed from all conversations, without a generator', async () => {
    const { reports } = await train({ metrics: [join(folder, 'rows.mjs')] }, { maxSteps: 1, evalStrategy: 'ends' });
    expect(reports.map(({ metrics }) => metrics)).toEqual([{ rows: 3 }, { rows: 3 }]);
  }, 60_000);

  test.each([
    ['of version 1', 'old.mjs', 'PLUGIN_INVALID', /Upgrading plugins to version 2/],
    ['that throw', 'throws.mjs', 'PLUGIN_FAILED', /The metric 'throws' failed: oops/],
  ])(
    '%s fail the run',
    async (_, file, code, message) => {
      const run = train({ metrics: [join(folder, file)] }, { maxSteps: 1, evalStrategy: 'ends' });
      const error: unknown = await run.catch((reason: unknown) => reason);
      expect(error).toMatchObject({ code });
      expect(String(error)).toMatch(message);
    },
    60_000,
  );
});
