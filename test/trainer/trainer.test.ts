import '@tensorflow/tfjs-backend-cpu';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { CHECKPOINT_STORE, LOADED_MODEL, LOGGER, MODEL_LOADER, provide, Trainer } from '@whetstone/core';
import { folderCheckpoints } from '@whetstone/core/checkpoint';
import {
  definePlugin,
  isWhetstoneError,
  type Callback,
  type StepReport,
  type WhetstoneError,
} from '@whetstone/core/contract';
import { beforeAll, describe, expect, it } from 'vitest';
import { temporaryFolder } from '../support/temporary-folder.js';
import { loadedOf, tinyModel } from '../support/training.js';
import { builtIns, recordingLogger, tinyConfig, tinyServices, tinyTrainer } from './support.js';

beforeAll(() => tf.setBackend('cpu'));

/** The tiny trainer has evaluation data, which its runs do not evaluate. */
const NOT_EVALUATED =
  'warn: data.eval is only compared with the training data: training.evalStrategy is "no" and no callback requests ' +
  'an evaluation.';

async function failureOf(promise: Promise<unknown>): Promise<WhetstoneError> {
  const error: unknown = await promise.catch((failure: unknown) => failure);
  if (isWhetstoneError(error)) return error;
  throw new Error(`no WhetstoneError but ${String(error)}`);
}

describe('Trainer', () => {
  it('trains: the loss falls, the report contains plain numbers, and no tensor leaks', async () => {
    const before = tf.memory().numTensors;
    const losses: number[] = [];
    const report = await tinyTrainer({ training: { ...tinyConfig.training, numTrainEpochs: 4, evalStrategy: 'ends' } })
      .on('step', ({ loss }) => losses.push(loss))
      .run();
    expect(losses).toHaveLength(24);
    expect(report.steps).toBe(24);
    expect(losses.slice(-6).reduce((sum, loss) => sum + loss)).toBeLessThan(
      losses.slice(0, 6).reduce((sum, loss) => sum + loss),
    );
    expect(report.evalLossBefore).toBeTypeOf('number');
    expect(JSON.parse(JSON.stringify(report))).toEqual(report);
    expect(tf.memory().numTensors).toBe(before);
  });

  it('yields a report per step, with the same numbers as run()', async () => {
    const reports: StepReport[] = [];
    for await (const report of tinyTrainer()) reports.push(report);
    const losses: number[] = [];
    await tinyTrainer()
      .on('step', ({ loss }) => losses.push(loss))
      .run();
    expect(reports.map(({ step }) => step)).toEqual([1, 2, 3, 4, 5, 6]);
    expect(reports.map(({ loss }) => loss)).toEqual(losses);
  });

  it('emits events in the order of the run', async () => {
    const events: string[] = [];
    const trainer = tinyTrainer({ training: { maxSteps: 2, saveStrategy: 'no', evalStrategy: 'ends' } });
    for (const event of ['run:start', 'step', 'evaluate', 'save', 'epoch', 'run:end', 'run:error'] as const)
      trainer.on(event, () => events.push(event));
    await trainer.run();
    expect(events).toEqual(['run:start', 'evaluate', 'step', 'step', 'epoch', 'evaluate', 'run:end']);
  });

  it('continues if a listener throws or rejects', async () => {
    const logger = recordingLogger();
    const trainer = tinyTrainer(
      { training: { maxSteps: 1, saveStrategy: 'no' } },
      { services: [provide(LOGGER, logger)] },
    );
    trainer.on('step', () => {
      throw new Error('thrown');
    });
    trainer.on('step', () => Promise.reject(new Error('rejected')));
    expect((await trainer.run()).steps).toBe(1);
    expect(logger.lines).toEqual([
      NOT_EVALUATED,
      "error: A listener of 'step' failed: thrown",
      "error: A listener of 'step' failed: rejected",
    ]);
  });

  it('can run again, and concurrently with another trainer', async () => {
    const alone: number[] = [];
    for await (const { loss } of tinyTrainer()) alone.push(loss);
    const [first, second] = [tinyTrainer().reports(), tinyTrainer().reports()];
    const losses: [number[], number[]] = [[], []];
    for (;;) {
      const [a, b] = await Promise.all([first.next(), second.next()]);
      if (a.done === true || b.done === true) break;
      losses[0].push(a.value.loss);
      losses[1].push(b.value.loss);
    }
    expect(losses).toEqual([alone, alone]);
    const again = tinyTrainer();
    expect((await again.run()).steps).toBe(6);
    expect((await again.run()).steps).toBe(6);
  });

  it('rejects two concurrent runs, and any run after dispose', async () => {
    const trainer = tinyTrainer();
    const running = trainer.run();
    expect((await failureOf(trainer.run())).code).toBe('USAGE');
    await running;
    await trainer.dispose();
    expect((await failureOf(trainer.run())).message).toMatch(/disposed/);
  });

  it('leaks no tensor and reports an error if its iteration is left early', async () => {
    const before = tf.memory().numTensors;
    const errors: unknown[] = [];
    const trainer = tinyTrainer().on('run:error', (error) => errors.push(error));
    for await (const { step } of trainer) if (step === 2) break;
    expect(tf.memory().numTensors).toBe(before);
    expect(errors.map((error) => (error as WhetstoneError).code)).toEqual(['INTERRUPTED']);
  });

  it('ends with INTERRUPTED after a checkpoint if its signal is aborted', async () => {
    const folder = await temporaryFolder();
    const abort = new AbortController();
    const trainer = tinyTrainer({
      output: { folder: join(folder, 'run') },
      training: { numTrainEpochs: 1, saveStrategy: 'end' },
    }).on('step', ({ step }) => step === 3 && abort.abort());
    const error = await failureOf(trainer.run({ signal: abort.signal }));
    expect(error.code).toBe('INTERRUPTED');
    expect(existsSync(join(folder, 'run', 'checkpoint-3'))).toBe(true);
    const steps: number[] = [];
    await tinyTrainer({
      output: { folder: join(folder, 'run') },
      training: { numTrainEpochs: 1, saveStrategy: 'end', resumeFromCheckpoint: true },
    })
      .on('step', ({ step }) => steps.push(step))
      .run();
    expect(steps).toEqual([4, 5, 6]);
  });

  it("warns about a maximum length beyond the model's context, with both numbers", async () => {
    const warningsUnder = async (data: object): Promise<string[]> => {
      const warnings: string[] = [];
      await tinyTrainer({ data: { train: 'unused.jsonl', eval: 'unused.jsonl', shuffleDataset: false, ...data } })
        .on('warning', ({ message }) => warnings.push(message))
        .run();
      return warnings.filter((message) => message.includes('context'));
    };
    // The tiny model has max_position_embeddings 64. The default length of 1024 must not cause a warning.
    expect(await warningsUnder({})).toEqual([]);
    expect(await warningsUnder({ maxLength: 64 })).toEqual([]);
    expect(await warningsUnder({ maxLength: 65 })).toEqual([expect.stringMatching(/maxLength is 65.*64 tokens/)]);
  });

  it('does not start if its signal is already aborted', async () => {
    expect((await failureOf(tinyTrainer().run({ signal: AbortSignal.abort() }))).code).toBe('INTERRUPTED');
  });

  it('ends an active run on dispose', async () => {
    const before = tf.memory().numTensors;
    const trainer = tinyTrainer();
    const running = failureOf(trainer.run());
    await trainer.dispose();
    expect((await running).code).toBe('INTERRUPTED');
    expect(tf.memory().numTensors).toBe(before);
  });
});

describe('callbacks', () => {
  it('may be given as objects', async () => {
    const steps: number[] = [];
    await tinyTrainer(
      {},
      {
        callbacks: [
          { onStep: ({ step }, control) => (steps.push(step), step === 2 ? control.stop('enough') : undefined) },
        ],
      },
    ).run();
    expect(steps).toEqual([1, 2]);
  });

  it('with a misspelled hook are rejected immediately', () => {
    const callback = { onStpe: () => undefined } as unknown as Callback;
    expect(() => tinyTrainer({}, { callbacks: [callback] })).toThrow(/not a hook: onStpe/);
    const value = { nonFinite: 'skpi' } as unknown as Callback;
    expect(() => tinyTrainer({}, { callbacks: [value] })).toThrow(/nonFinite of callback 'callbacks\[0\]'/);
  });

  it('may skip steps that are not finite, as nan-guard does with a warning', async () => {
    const logger = recordingLogger();
    const reports: StepReport[] = [];
    const bad: Callback = {
      transformLogits: (logits, { step }) => (step === 1 ? tf.mul(logits, NaN) : tf.clone(logits)),
    };
    await tinyTrainer(
      { callbacks: [{ use: 'nan-guard', options: { action: 'skip', maxSkips: 4 } }] },
      { callbacks: [bad], services: [provide(LOGGER, logger)] },
    )
      .on('step', (report) => reports.push(report))
      .run();
    expect(reports.map(({ updated }) => updated)).toEqual([true, false, true, true, true, true]);
    expect(logger.lines).toEqual([
      NOT_EVALUATED,
      'warn: The update of step 2 was skipped: the loss is NaN (1 in a row, at most 4).',
    ]);
  });

  it.each([
    [{ action: 'stop' }, 2, 'At step 2 the loss is NaN.'],
    [{ action: 'stop', patience: 2 }, 3, 'At step 3 the loss is NaN, for 2 steps in a row.'],
  ] as const)('end a run normally at steps that are not finite with nan-guard %j', async (options, steps, reason) => {
    const bad: Callback = {
      transformLogits: (logits, { step }) => (step >= 1 ? tf.mul(logits, NaN) : tf.clone(logits)),
    };
    const report = await tinyTrainer({ callbacks: [{ use: 'nan-guard', options }] }, { callbacks: [bad] }).run();
    expect(report).toMatchObject({ steps, stopReason: reason });
  });

  it('fail only after `patience` steps that are not finite with nan-guard', async () => {
    const bad: Callback = {
      transformLogits: (logits, { step }) => ([1, 3, 4].includes(step) ? tf.mul(logits, NaN) : tf.clone(logits)),
    };
    const guarded = { callbacks: [{ use: 'nan-guard', options: { patience: 2 } }] };
    const error = await failureOf(tinyTrainer(guarded, { callbacks: [bad] }).run());
    expect(error.code).toBe('NON_FINITE');
    expect(error.message).toContain('At step 5 the loss is NaN, for 2 steps in a row.');
  });

  it.each([
    ['maxSkips without skip', { maxSkips: 4 }],
    ['patience with skip and no threshold', { action: 'skip', patience: 3 }],
  ])('options of nan-guard without effect are rejected: %s', async (_, options) => {
    const error = await failureOf(tinyTrainer({ callbacks: [{ use: 'nan-guard', options }] }).run());
    expect(error.code).toBe('CONFIG_UNUSED_KEY');
  });

  it('that fail end the run with their name, and no tensor leaks', async () => {
    const before = tf.memory().numTensors;
    const disposed: string[] = [];
    const failing = definePlugin({
      apiVersion: 2,
      kind: 'callback',
      name: 'failing',
      configSchema: { type: 'object', additionalProperties: false },
      create: () => ({
        onStep: ({ step }) => {
          if (step === 2) throw new RangeError('two is too many');
        },
        onRunError: () => void disposed.push('told'),
        dispose: () => void disposed.push('disposed'),
      }),
    });
    const error = await failureOf(tinyTrainer({ callbacks: ['failing'] }, { plugins: [...builtIns, failing] }).run());
    expect([error.code, error.details]).toEqual(['HOOK_FAILED', { plugin: 'failing', hook: 'onStep', step: 2 }]);
    expect(error.cause).toBeInstanceOf(RangeError);
    expect(disposed).toEqual(['told', 'disposed']);
    expect(tf.memory().numTensors).toBe(before);
  });
});

describe('plugins and their options', () => {
  const schema = {
    type: 'object',
    additionalProperties: false,
    properties: { a: { type: 'number', default: 1 }, b: { type: 'number', default: 1 } },
  } as const;
  const reading = (name: string, create: (options: { readonly a: number; readonly b: number }) => Callback) =>
    definePlugin({ apiVersion: 2, kind: 'callback', name, configSchema: schema, create });
  const readsA = reading('reads-a', ({ a }) => ({ onStep: () => void a }));
  const readsLate = reading('reads-late', (options) => ({ onStep: () => void [options.a, options.b] }));
  const readsNothing = reading('reads-nothing', () => ({ onStep: () => undefined }));
  const run = (use: string, options: object, logger = recordingLogger()) =>
    tinyTrainer(
      { callbacks: [{ use, options }], training: { maxSteps: 1, saveStrategy: 'no' } },
      { plugins: [...builtIns, readsA, readsLate, readsNothing], services: [provide(LOGGER, logger)] },
    ).run();

  it('an unused key is an error before the first step', async () => {
    const error = await failureOf(run('reads-a', { a: 2, b: 3 }));
    expect([error.code, error.place]).toEqual(['CONFIG_UNUSED_KEY', { path: 'callbacks[0].options.b' }]);
  });
  it('an unused default, even if written explicitly, is not an error', async () => {
    expect((await run('reads-a', { a: 2 })).steps).toBe(1);
    expect((await run('reads-a', { a: 2, b: 1 })).steps).toBe(1);
  });
  it('options that a plugin may read later are checked again at the end', async () => {
    const logger = recordingLogger();
    expect((await run('reads-late', { a: 2, b: 3 }, logger)).steps).toBe(1);
    expect(logger.lines).toEqual([NOT_EVALUATED]);
    await run('reads-nothing', { a: 2 }, logger);
    expect(logger.lines).toEqual([
      NOT_EVALUATED,
      NOT_EVALUATED,
      "warn: 'reads-nothing' never read callbacks[0].options.a.",
    ]);
  });
  it('a failing create is reported with the name of the plugin and its cause', async () => {
    const broken = reading('broken', () => {
      throw new Error('no way');
    });
    const error = await failureOf(tinyTrainer({ callbacks: ['broken'] }, { plugins: [...builtIns, broken] }).run());
    expect([error.code, error.details, (error.cause as Error).message]).toEqual([
      'PLUGIN_FAILED',
      { plugin: 'broken', kind: 'callback' },
      'no way',
    ]);
  });
  it('an owner cannot be a companion', async () => {
    const error = await failureOf(tinyTrainer({ companions: ['full'] }).run());
    expect([error.code, error.place]).toEqual(['CONFIG_CONFLICT', { path: 'companions[0].use' }]);
  });
});

describe('services', () => {
  it('that are missing are named', async () => {
    const trainer = new Trainer(tinyConfig, { plugins: builtIns, defaults: { dataSource: 'conversations' } });
    expect((await failureOf(trainer.run())).details).toEqual({ token: 'BACKEND_RESOLVER' });
  });
  it('can be replaced by token, for example the checkpoint store', async () => {
    const folder = join(await temporaryFolder(), 'run');
    const saved: number[] = [];
    const store = {
      ...folderCheckpoints,
      save: (...values: Parameters<typeof folderCheckpoints.save>) => (
        saved.push(values[2].step),
        folderCheckpoints.save(...values)
      ),
    };
    await tinyTrainer(
      { output: { folder }, training: { numTrainEpochs: 1, saveStrategy: 'steps', saveSteps: 3 } },
      { services: [provide(CHECKPOINT_STORE, store)] },
    ).run();
    expect(new Set(saved)).toEqual(new Set([3, 6]));
  });
  it('registered as instances are used, and not disposed', async () => {
    const model = tinyModel();
    await tinyTrainer(
      {},
      {
        services: [
          provide(LOADED_MODEL, loadedOf(model)),
          provide(MODEL_LOADER, { load: () => Promise.reject(new Error('not asked')) }),
        ],
      },
    ).run();
    expect([...model.parameters.values()].every((parameter) => !parameter.isDisposed)).toBe(true);
    model.dispose();
  });
});

describe('the output folder', () => {
  const config = (folder: string, more: object = {}) => ({
    output: { folder, ...more },
    training: { maxSteps: 1, saveStrategy: 'no' },
  });

  it('contains the resolved configuration, which is a configuration of the same run', async () => {
    const folder = join(await temporaryFolder(), 'run');
    const trainer = tinyTrainer(config(folder));
    await trainer.run();
    const saved = JSON.parse(readFileSync(join(folder, 'config.resolved.json'), 'utf8')) as object;
    expect(saved).toEqual(await trainer.resolve());
    const again = new Trainer(join(folder, 'config.resolved.json'), {
      plugins: builtIns,
      defaults: { dataSource: 'conversations' },
      services: tinyServices(),
      overrides: ['output.overwrite=true', 'training.maxSteps=2'],
    });
    expect((await again.run()).steps).toBe(2);
  });

  it('of another run is rejected, unless it is overwritten', async () => {
    const folder = join(await temporaryFolder(), 'run');
    await tinyTrainer(config(folder)).run();
    writeFileSync(join(folder, 'old.txt'), '');
    const error = await failureOf(tinyTrainer(config(folder)).run());
    expect([error.code, error.exitCode, error.place]).toEqual(['OUTPUT_EXISTS', 2, { file: folder }]);
    await tinyTrainer(config(folder, { overwrite: true })).run();
    expect(existsSync(join(folder, 'old.txt'))).toBe(false);
  });

  it('with other files is never changed', async () => {
    const folder = await temporaryFolder();
    writeFileSync(join(folder, 'precious.txt'), '');
    expect((await failureOf(tinyTrainer(config(folder, { overwrite: true })).run())).code).toBe('OUTPUT_EXISTS');
    expect(existsSync(join(folder, 'precious.txt'))).toBe(true);
    mkdirSync(join(folder, 'sub'));
    expect((await failureOf(tinyTrainer(config(join(folder, 'precious.txt'))).run())).message).toMatch(/is a file/);
  });

  it('of a run different from the resumed one is rejected, too', async () => {
    const folder = await temporaryFolder();
    const [one, other] = [join(folder, 'one'), join(folder, 'other')];
    for (const output of [one, other])
      await tinyTrainer({ output: { folder: output }, training: { maxSteps: 1, saveStrategy: 'end' } }).run();
    const goOn = (output: string) =>
      tinyTrainer({
        output: { folder: output },
        training: { maxSteps: 2, saveStrategy: 'end', resumeFromCheckpoint: join(one, 'checkpoint-1') },
      }).run();
    expect((await failureOf(goOn(other))).code).toBe('OUTPUT_EXISTS');
    expect((await goOn(one)).steps).toBe(2);
  });

  it('is not created by a run that fails before it starts', async () => {
    const folder = join(await temporaryFolder(), 'run');
    await expect(
      tinyTrainer(config(folder), {
        services: [provide(MODEL_LOADER, { load: () => Promise.reject(new Error('no model')) })],
      }).run(),
    ).rejects.toThrow('no model');
    expect(existsSync(folder)).toBe(false);
  });

  it('keeps an old run, and is not created, if a strategy rejects the new run', async () => {
    const folder = join(await temporaryFolder(), 'run');
    const wrong = { strategy: { use: 'lora', options: { targetModules: ['nothing'] } } };
    expect((await failureOf(tinyTrainer({ ...config(folder), ...wrong }).run())).code).toBe('STRATEGY_TARGETS_NOTHING');
    expect(existsSync(folder)).toBe(false);
    await tinyTrainer(config(folder)).run();
    const before = readdirSync(folder).toSorted();
    expect((await failureOf(tinyTrainer({ ...config(folder, { overwrite: true }), ...wrong }).run())).code).toBe(
      'STRATEGY_TARGETS_NOTHING',
    );
    // Names that start with a dot are not part of a run: the folder keeps the error for `whetstone doctor`.
    expect(readdirSync(folder).toSorted()).toEqual(['.last-error.json', ...before]);
  });
});
