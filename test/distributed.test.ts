import { existsSync } from 'node:fs';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { findTensorflow } from '@whetstone/backend/install';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import {
  metricsOf,
  start,
  startWorkers,
  writeConfig,
  writeProject,
  type Ended,
  type Running,
} from './support/workers.js';

/*
 * Real processes on the loopback interface. The most important tests always run; the rest only with
 * WHETSTONE_TEST_DISTRIBUTED=all (`npm run test:distributed`).
 */
const library = await findTensorflow();
const present = 'folder' in library;
if (!present)
  console.warn(
    `Training in several processes is not tested: ${library.reasons.join(', and ')}. Fetch libtensorflow with: ` +
      'npx whetstone backend install cpu',
  );
const all = present && process.env['WHETSTONE_TEST_DISTRIBUTED'] === 'all';

let folder: string;
let runs = 0;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'whetstone-workers-'));
  await writeProject(folder);
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const output = (): string => join(folder, `run-${++runs}`);
const into = (out: string, ...settings: readonly string[]): string[] =>
  [`output.folder=${out}`, ...settings].flatMap((setting) => ['--set', setting]);
const endOf = (processes: readonly Running[]): Promise<Ended[]> => Promise.all(processes.map(({ ended }) => ended));

/** Expects nothing but warnings about settings that only several processes or longer runs use. */
const expectNoError = (errors: string): void =>
  expect(errors.replaceAll(/^warning: \S+ has no effect: .*\n/gm, '')).toBe('');

/** Trains in one process and returns the output folder. */
async function alone(...settings: readonly string[]): Promise<string> {
  const out = output();
  const { code, errors } = await start(folder, into(out, ...settings)).ended;
  expectNoError(errors);
  expect(code).toBe(0);
  return out;
}

/** Trains in several processes through the launcher and returns the output folder. */
async function together(count: number, ...settings: readonly string[]): Promise<string> {
  const out = output();
  const { code, errors } = await start(folder, ['--processes', String(count), ...into(out, ...settings)]).ended;
  expectNoError(errors);
  expect(code).toBe(0);
  return out;
}

/**
 * Expects the same losses and samples in every step and evaluation as in one process, except for rounding in float32.
 */
async function expectSame(one: string, several: string, tolerance = 2e-5): Promise<void> {
  const [expected, found] = [await metricsOf(one), await metricsOf(several)];
  expect(found.map(({ type, step }) => [type, step])).toEqual(expected.map(({ type, step }) => [type, step]));
  for (const [index, line] of expected.entries()) {
    const other = found[index];
    expect(Math.abs((other?.loss ?? NaN) - line.loss) / line.loss, `${line.type} ${line.step}`).toBeLessThan(tolerance);
    for (const name of ['samples', 'supervisedTokens', 'tokens', 'microbatches', 'learningRate', 'updated'])
      expect(other?.[name], `${name} of ${line.type} ${line.step}`).toEqual(line[name]);
  }
}

describe.skipIf(!present)('several processes', { timeout: 300_000 }, () => {
  const steps = ['training.maxSteps=16'];
  let one: string;
  beforeAll(async () => {
    one = await alone(...steps);
  });

  it('make the same steps as one process; only worker 0 writes and prints', async () => {
    const out = output();
    const { code, errors, output: said } = await start(folder, ['--processes', '2', ...into(out, ...steps)]).ended;
    expect({ code, errors }).toEqual({ code: 0, errors: '' });
    await expectSame(one, out);
    expect(said.match(/16 steps; /g)).toHaveLength(1);
    expect(said).toContain('2 workers train together; this is worker 0');
    expect((await readdir(out)).toSorted()).toEqual((await readdir(one)).toSorted());
    for (const line of await metricsOf(out)) {
      if (line.type !== 'step') continue;
      expect(line['allReduceSeconds']).toBeGreaterThan(0);
      expect(line['allReduceShare']).toBeGreaterThanOrEqual(0);
      expect(line['allReduceShare']).toBeLessThanOrEqual(1);
    }
  });

  it('end together if one is killed, and the run resumes with one process, then with three', async () => {
    const out = output();
    const pair = await startWorkers(folder, 2, into(out, ...steps));
    await pair[0]?.wrote('checkpoint-4');
    pair[1]?.kill('SIGKILL');
    const [chief, killed] = await endOf(pair);
    expect(killed?.signal).toBe('SIGKILL');
    expect(chief?.code).toBe(1);
    expect(chief?.errors).toMatch(/\[WORKER_LOST\] Worker 1 \(127\.0\.0\.1:\d+\) disconnected/);

    const single = start(folder, ['--resume', ...into(out, ...steps)]);
    await single.wrote('checkpoint-8');
    single.kill('SIGINT');
    expect((await single.ended).code).toBe(130);

    const rest = await endOf(await startWorkers(folder, 3, ['--resume', ...into(out, ...steps)]));
    expect(rest.map(({ code }) => code)).toEqual([0, 0, 0]);
    // Only worker 0 prints the warning.
    expect(rest.map(({ errors }) => errors)).toEqual([
      expect.stringMatching(/^warning: .*no longer bit for bit.*: the number of processes was 1 and is 3\.\n$/),
      '',
      '',
    ]);
    expect(rest[1]?.output).toMatch(/^This is worker 1 \(127\.0\.0\.1:\d+\) of 3; worker 0 shows the progress\.\n$/);
    await expectSame(one, out);
  });
});

/** A callback that notes the signals of its process. Its checkpoint after a SIGTERM takes longer than the test. */
const signalsPlugin = (file: string): string => `
  import { appendFileSync } from 'node:fs';
  let isEnding = false;
  for (const signal of ['SIGUSR1', 'SIGTERM', 'SIGINT'])
    process.on(signal, () => {
      isEnding ||= signal === 'SIGTERM';
      appendFileSync(${JSON.stringify(file)}, signal + '\\n');
    });
  export default {
    apiVersion: 2,
    kind: 'callback',
    name: 'signals',
    configSchema: { type: 'object', properties: {}, additionalProperties: false },
    create: () => ({ onSave: () => new Promise((resolve) => setTimeout(resolve, isEnding ? 120_000 : 0)) }),
  };`;

describe.skipIf(!present)('the signals of a launcher', { timeout: 300_000 }, () => {
  it('reach each worker once: SIGUSR1 saves and the run continues, a second end signal ends all at once', async () => {
    const out = output();
    const noted = join(folder, 'signals.txt');
    await writeFile(join(folder, 'signals.mjs'), signalsPlugin(noted));
    const signals = async (): Promise<string[]> => (await readFile(noted, 'utf8')).trim().split('\n');
    const settings = ['training.maxSteps=400000', 'training.saveSteps=400000', 'callbacks=["./signals.mjs"]'];
    const launcher = start(folder, ['--processes', '2', ...into(out, ...settings)]);
    await launcher.wrote('step 1/');
    // A scheduler sends it to every process of a job, npx forwards it, too.
    launcher.kill('SIGUSR1');
    launcher.kill('SIGUSR1');
    await launcher.wrote('saved ');
    expect(await signals()).toEqual(['SIGUSR1', 'SIGUSR1']);

    launcher.kill('SIGTERM');
    const checkpoints = async (): Promise<number> =>
      (await readdir(out)).filter((name) => name.startsWith('checkpoint-')).length;
    while ((await checkpoints()) < 2) await new Promise((resolve) => setTimeout(resolve, 20));
    launcher.kill('SIGINT');
    const { code, errors } = await launcher.ended;
    expect({ code, errors }).toEqual({ code: 130, errors: expect.stringContaining('[INTERRUPTED]') as string });
    // The second signal ends the process before the callback can note it.
    expect((await signals()).toSorted()).toEqual(['SIGTERM', 'SIGTERM', 'SIGUSR1', 'SIGUSR1']);
  });
});

describe.skipIf(!all)('several processes, at length', { timeout: 600_000 }, () => {
  it.each([
    [
      'LoRA over accumulated microbatches',
      { training: { perDeviceTrainBatchSize: 3, gradientAccumulationSteps: 4, maxSteps: 4 } },
    ],
    [
      'all parameters, in many buckets',
      { strategy: 'full', optimizer: { learningRate: 1e-3 }, training: { ddpBucketCapMb: 0.01 } },
    ],
    [
      'all parameters in bfloat16',
      {
        strategy: { use: 'full', options: { weights: 'bfloat16' } },
        optimizer: { learningRate: 1e-3 },
        training: { maxSteps: 4 },
      },
    ],
    ['fewer conversations than workers', { training: { perDeviceTrainBatchSize: 2 } }],
    [
      'packed rows',
      {
        data: { train: 'train.jsonl', eval: 'eval.jsonl', leakage: 'off', maxLength: 96, packing: true },
        training: { perDeviceTrainBatchSize: 2 },
      },
    ],
    [
      'a row for each conversation',
      { data: { train: 'train.jsonl', eval: 'eval.jsonl', leakage: 'off', maxLength: 96, paddingFree: false } },
    ],
    ['replay', { companions: [{ use: 'replay', options: { data: 'old.jsonl', ratio: 0.3 } }] }],
    ['elastic weight consolidation', { companions: [{ use: 'ewc', options: { data: 'old.jsonl', lambda: 1000 } }] }],
    [
      'layers that are unfrozen',
      { strategy: { use: 'frozen-layers', options: { trainLastLayers: 2, unfreezeEverySteps: 3 } } },
    ],
    ['prefixes', { strategy: { use: 'p-tuning-v2', options: { virtualTokens: 4 } } }],
    ['clipping off', { callbacks: [] }],
  ])('%s: 2 and 3 workers like one', async (_, more) => {
    await writeConfig(folder, more);
    try {
      const one = await alone();
      await expectSame(one, await together(2));
      await expectSame(one, await together(3));
    } finally {
      await writeConfig(folder);
    }
  });

  it('measure the metrics of one process: 2 and 3 workers like one', async () => {
    await writeFile(
      join(folder, 'likelihood.mjs'),
      `export default {
        apiVersion: 2, kind: 'metric', name: 'likelihood',
        configSchema: { type: 'object', additionalProperties: false },
        create: () => ({
          needs: 'logProbabilities',
          createAccumulator: (sum = 0, tokens = 0) => ({
            add: ({ likelihoods: [{ logProbabilities }] }) => {
              for (const value of logProbabilities) { sum += value; tokens++; }
            },
            result: () => ({ likelihood: sum / tokens, tokens }),
          }),
        }),
      };`,
    );
    // Before the first step, the weights are the same to the last bit.
    await writeConfig(folder, {
      evaluation: { metrics: ['chrf', 'distinct-n', './likelihood.mjs'], replies: 9, maxNewTokens: 6 },
      training: { maxSteps: 1, evalStrategy: 'ends', evalSteps: null, perDeviceEvalBatchSize: 2 },
    });
    try {
      const first = async (out: string): Promise<unknown[]> => {
        const line = (await metricsOf(out)).find(({ type }) => type === 'evaluation');
        return ['chrf', 'distinct1', 'distinct2', 'likelihood'].map((name) => line?.[name]);
      };
      const expected = await first(await alone());
      expect(expected.every((value) => typeof value === 'number')).toBe(true);
      for (const count of [2, 3]) expect(await first(await together(count))).toEqual(expected);
    } finally {
      await writeConfig(folder);
    }
  });

  it('end in bounded time if one hangs', async () => {
    const out = output();
    const pair = await startWorkers(folder, 2, into(out, 'training.maxSteps=4000', 'training.ddpTimeout=8'));
    await pair[0]?.wrote('checkpoint-4');
    pair[1]?.kill('SIGSTOP');
    const began = performance.now();
    const chief = await pair[0]?.ended;
    pair[1]?.kill('SIGKILL');
    expect(performance.now() - began).toBeLessThan(60_000);
    expect(chief?.code).toBe(1);
    expect(chief?.errors).toMatch(/\[WORKER_LOST\] Worker 1 \(127\.0\.0\.1:\d+\) (sent no heartbeat for 8 s|did not)/);
  });

  it('end with an error if the chief is killed', async () => {
    const out = output();
    const three = await startWorkers(folder, 3, into(out, 'training.maxSteps=4000'));
    await three[0]?.wrote('checkpoint-4');
    three[0]?.kill('SIGKILL');
    const [, first, second] = await endOf(three);
    for (const worker of [first, second]) {
      expect(worker?.code).toBe(1);
      expect(worker?.errors).toMatch(/\[WORKER_LOST\] Worker 0 \(127\.0\.0\.1:\d+\) disconnected/);
    }
  });

  it('write a checkpoint and exit with 130 on Ctrl-C at the launcher, and resume from it', async () => {
    const steps = ['training.maxSteps=24'];
    const out = output();
    const launcher = start(folder, ['--processes', '2', ...into(out, ...steps)]);
    await launcher.wrote('checkpoint-4');
    launcher.kill('SIGINT');
    const { code, errors } = await launcher.ended;
    expect(code).toBe(130);
    expect(errors.match(/\[INTERRUPTED\]/g)).toHaveLength(1);
    const [, saved] = /checkpoint-(\d+)\. Resume/.exec(errors) ?? [];
    expect(existsSync(join(out, `checkpoint-${saved}`, 'optimizer.safetensors'))).toBe(true);
    expect((await start(folder, ['--processes', '3', '--resume', ...into(out, ...steps)]).ended).code).toBe(0);
    await expectSame(await alone(...steps), out);
  });

  it('end with an error that names the worker if the launcher loses one', async () => {
    const out = output();
    const launcher = start(folder, [
      '--processes',
      '2',
      ...into(out, 'training.maxSteps=4000', 'callbacks=["./killer.mjs"]'),
    ]);
    await writeFile(
      join(folder, 'killer.mjs'),
      plugin('killer', "onStep: ({ step }) => { if (rank === 1 && step === 5) process.kill(process.pid, 'SIGKILL'); }"),
    );
    const { code, errors } = await launcher.ended;
    expect(code).toBe(1);
    expect(errors).toMatch(
      /\[WORKER_LOST\] Worker 1 was ended by the signal SIGKILL\. It last used .* of memory\..* it ended is unknown/,
    );
  });

  it('all execute the requests of a callback in one of them', async () => {
    await writeFile(
      join(folder, 'requests.mjs'),
      plugin(
        'requests',
        `
      transformGradients: (gradients, { step }, control) => {
        if (rank === 1 && step === 2) control.skipUpdate('requested by worker 1');
        return gradients;
      },
      onStep: ({ step }, control) => {
        if (rank === 1 && step === 3) control.save();
        if (rank === 1 && step === 5) control.evaluate();
        if (rank === 2 && step === 6) control.stop('requested by worker 2');
      }`,
      ),
    );
    const out = output();
    const { code, output: said } = await start(folder, [
      '--processes',
      '3',
      ...into(
        out,
        'training.maxSteps=20',
        'training.evalSteps=100',
        'training.saveSteps=100',
        'callbacks=["./requests.mjs"]',
      ),
    ]).ended;
    expect(code).toBe(0);
    expect(said).toContain('stopped early: requested by worker 2');
    const lines = await metricsOf(out);
    expect(lines.filter(({ type }) => type === 'step').map(({ updated }) => updated)).toEqual([
      true,
      true,
      false,
      true,
      true,
      true,
    ]);
    expect(lines.filter(({ type }) => type === 'evaluation').map(({ step }) => step)).toEqual([5, 6]);
    expect((await readdir(out)).filter((name) => name.startsWith('checkpoint-')).toSorted()).toEqual([
      'checkpoint-3',
      'checkpoint-6',
    ]);
  });

  it('all stop early, with the best weights', async () => {
    // No evaluation improves by this threshold: the first is the best, and two more end the run.
    const settings = [
      'training.maxSteps=40',
      'training.evalSteps=2',
      'training.saveSteps=100',
      'callbacks=[{"use":"early-stopping","options":{"patience":2,"threshold":100}}]',
    ];
    const one = await alone(...settings);
    const several = await together(2, ...settings);
    expect((await metricsOf(several)).at(-1)?.step).toBe(6);
    await expectSame(one, several);
    // Both end with the weights of step 2.
    for (const run of [one, several])
      expect(await readFile(join(run, 'adapter', 'adapter_model.safetensors'))).toEqual(
        await readFile(join(run, 'checkpoint-2', 'adapter_model.safetensors')),
      );
  });

  it('all fail if one does, with the error of that worker', async () => {
    await writeFile(
      join(folder, 'clumsy.mjs'),
      plugin('clumsy', "onStep: ({ step }) => { if (rank === 1 && step === 2) throw new Error('callback error'); }"),
    );
    const out = output();
    const [chief, other] = await endOf(await startWorkers(folder, 2, into(out, 'callbacks=["./clumsy.mjs"]')));
    expect([chief?.code, other?.code]).toEqual([1, 1]);
    expect(other?.errors).toContain('callback error');
    expect(chief?.errors).toMatch(
      /\[WORKER_FAILED\] Worker 1 \(127\.0\.0\.1:\d+\) failed: \[HOOK_FAILED\].*callback error/,
    );
    const { code, errors } = await start(folder, ['--processes', '2', ...into(output(), 'callbacks=["./clumsy.mjs"]')])
      .ended;
    expect(code).toBe(1);
    expect(errors).toMatch(/\[HOOK_FAILED\] Worker 1: /);
  });

  it('all report a loss that is not finite in one of them', async () => {
    await writeFile(
      join(folder, 'bad.mjs'),
      plugin(
        'bad',
        'addLoss: (logits, { step }) => (rank === 1 && step === 2 ? tf.tidy(() => tf.mul(tf.sum(logits), ' +
          'tf.scalar(NaN))) : tf.scalar(0))',
        "import * as tf from '@tensorflow/tfjs-core';",
      ),
    );
    const ends = await endOf(await startWorkers(folder, 2, into(output(), 'callbacks=["./bad.mjs"]')));
    expect(ends).toHaveLength(2);
    for (const { code, errors } of ends) {
      expect(code).toBe(1);
      expect(errors).toMatch(/\[NON_FINITE\]/);
    }
  });

  it('all skip a step if a loss or gradient of one of them is not finite', async () => {
    const bad = (name: string, condition: string): string =>
      plugin(
        name,
        `
      addLoss: (logits, { step }) =>
        ${condition} ? tf.tidy(() => tf.mul(tf.sum(logits), tf.scalar(NaN))) : tf.scalar(0)`,
        "import * as tf from '@tensorflow/tfjs-core';",
      );
    await writeFile(join(folder, 'bad-alone.mjs'), bad('bad-alone', '[2, 3, 9].includes(step)'));
    await writeFile(join(folder, 'bad-one.mjs'), bad('bad-one', 'rank === 1 && [2, 3, 9].includes(step)'));
    const settings = (name: string): string[] => [
      'training.maxSteps=12',
      `callbacks=["./${name}.mjs",{"use":"nan-guard","options":{"action":"skip","maxSkips":2}}]`,
    ];
    const trained = async (name: string, processes: readonly string[]): Promise<string> => {
      const out = output();
      const { code, errors } = await start(folder, [...processes, ...into(out, ...settings(name))]).ended;
      expect(code).toBe(0);
      // Only worker 0 prints warnings.
      expect(errors.match(/update of step \d+ was skipped/g)).toEqual(
        [3, 4, 10].map((step) => `update of step ${step} was skipped`),
      );
      return out;
    };
    const one = await trained('bad-alone', []);
    const three = await trained('bad-one', ['--processes', '3']);
    await expectSame(one, three);
    const skipped = (await metricsOf(three)).filter(({ updated }) => updated === false);
    expect(skipped.map(({ step, nonFinite }) => [step, nonFinite])).toEqual(
      [3, 4, 10].map((step) => [step, 'gradient']),
    );

    const ends = await endOf(
      await startWorkers(
        folder,
        2,
        into(output(), 'callbacks=["./bad-one.mjs",{"use":"nan-guard","options":{"action":"skip","maxSkips":1}}]'),
      ),
    );
    for (const { code, errors } of ends) {
      expect(code).toBe(1);
      expect(errors).toMatch(/\[NON_FINITE\].*At step 4/);
    }
  });

  it('are rejected if their configurations differ, on another backend, or as an evaluator', async () => {
    const different = await endOf(await startWorkers(folder, 2, into(output()), { 1: ['--set', 'training.seed=7'] }));
    for (const { code, errors } of different) {
      expect(code).toBe(2);
      expect(errors).toContain('training differs');
    }
    const wasm = await start(folder, ['--processes', '2', ...into(output(), 'backend=wasm')]).ended;
    expect(wasm.code).toBe(2);
    expect(wasm.errors.match(/CONFIG_CONFLICT/g)).toHaveLength(1);
    const xla = await start(folder, ['--processes', '2', ...into(output(), 'backend.engine=xla')]).ended;
    expect(xla.code).toBe(2);
    expect(xla.errors).toContain('"backend": "whetstone"');
    const evaluator = await start(folder, into(output()), {
      TF_CONFIG: '{"cluster":{"worker":["a:1","b:1"]},"task":{"type":"evaluator","index":0}}',
    }).ended;
    expect(evaluator.code).toBe(2);
    expect(evaluator.errors).toContain('remove the evaluator from the job');
  });

  it('train with dropout, also after resuming', async () => {
    await writeConfig(folder, { strategy: { use: 'lora', options: { rank: 4, dropout: 0.3 } } });
    try {
      const out = await together(2, 'training.maxSteps=4');
      expect((await metricsOf(out)).every(({ loss }) => Number.isFinite(loss))).toBe(true);
      expect(
        (await start(folder, ['--processes', '3', '--resume', ...into(out, 'training.maxSteps=8')]).ended).code,
      ).toBe(0);
      expect((await metricsOf(out)).filter(({ type }) => type === 'step')).toHaveLength(8);
    } finally {
      await writeConfig(folder);
    }
  });
});

/** Returns the source of a callback in a local file, with the variable `rank`. */
function plugin(name: string, hooks: string, imports = ''): string {
  return `${imports}
import { definePlugin } from '@whetstone/core/contract';
const rank = JSON.parse(process.env.TF_CONFIG ?? '{"task":{"index":0}}').task.index;
export default definePlugin({
  apiVersion: 2,
  kind: 'callback',
  name: '${name}',
  configSchema: { type: 'object', properties: {}, additionalProperties: false },
  create: () => ({ ${hooks} }),
});
`;
}
