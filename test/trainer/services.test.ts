import '@tensorflow/tfjs-backend-cpu';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import * as core from '@whetstone/core';
import { CHECKPOINT_STORE, provide, provideFactory, Trainer, type ServiceRegistration } from '@whetstone/core';
import { folderCheckpoints } from '@whetstone/core/checkpoint';
import * as contract from '@whetstone/core/contract';
import {
  BACKEND_RESOLVER,
  BATCH_SOURCE_FACTORY,
  CLOCK,
  definePlugin,
  EVAL_DATA,
  EVAL_SOURCE,
  LOADED_MODEL,
  LOGGER,
  LOGGERS,
  METRICS,
  MODEL_LOADER,
  MODEL_OUTLINE,
  OPTIMIZER,
  RANDOM,
  REPLY_GENERATOR,
  SCHEDULE,
  TENSOR_BACKEND,
  LOSS_METERS,
  TEXT_GENERATORS,
  TRAIN_DATA,
  TRAIN_SOURCE,
  type BatchSource,
  type DataSource,
  type EvaluationReport,
  type LanguageModel,
  type ModelOutline,
  type Plugin,
  type PluginContext,
  type ReplySample,
  type RunReport,
  type StepReport,
  type TensorBackendInfo,
  type Token,
} from '@whetstone/core/contract';
import { beforeAll, describe, expect, it } from 'vitest';
import { fullStrategy } from '../../packages/strategies/src/full/full.js';
import { readPage } from '../docs/markdown.js';
import { temporaryFolder } from '../support/temporary-folder.js';
import { loadedOf, shuffledSource, tinyModel } from '../support/training.js';
import { builtIns, recordingLogger } from './support.js';

beforeAll(() => tf.setBackend('cpu'));

/** What the plugins and services of a run received. */
interface Seen {
  context?: PluginContext;
  outline?: ModelOutline;
  model?: LanguageModel;
  strategySeed?: number;
  readonly sources: DataSource[];
  readonly dataSeeds: number[];
  readonly replies: string[];
}

interface Outcome {
  readonly seen: Seen;
  readonly report: RunReport;
  readonly steps: readonly StepReport[];
  readonly evaluations: readonly EvaluationReport[];
}

/** A service, and the proof that the run used it. */
interface Replacement<T> {
  readonly service: T;
  readonly config?: object;
  readonly services?: readonly ServiceRegistration[];
  /** `isOwned`: the run created the service with a factory. */
  check(outcome: Outcome, isOwned: boolean): void | Promise<void>;
}

const cpu: TensorBackendInfo = { backend: 'cpu', engine: 'cpu', reason: 'a test', barrier: () => undefined };
const noOptions = { type: 'object', additionalProperties: false } as const;
const sourceOf = (question: string): DataSource => ({
  conversations: () => [
    {
      form: 'chat',
      messages: [
        { role: 'user', content: question },
        { role: 'assistant', content: 'An answer.' },
      ],
      origin: { index: 0 },
    },
  ],
  unreadable: [],
  files: [],
});

/** Plugins that record what they receive. */
function recordingPlugins(seen: Seen): readonly Plugin[] {
  const full = fullStrategy();
  const common = { apiVersion: contract.PLUGIN_API_VERSION, configSchema: noOptions } as const;
  return [
    definePlugin({ ...common, kind: 'data-source', name: 'recorded', create: () => sourceOf('A question?') }),
    definePlugin({
      ...common,
      kind: 'callback',
      name: 'recorded',
      create: (_, context) => {
        seen.context = context;
        return { onEpochStart: () => undefined };
      },
    }),
    definePlugin({
      ...common,
      kind: 'metric',
      name: 'recorded',
      create: () => ({
        needs: 'replies',
        createAccumulator: () => ({
          add: ({ reply }: ReplySample) => void seen.replies.push(reply),
          result: () => ({}),
        }),
      }),
    }),
    definePlugin({
      ...common,
      kind: 'strategy',
      name: 'recorded',
      create: () => ({
        ...full,
        plan: (outline) => {
          seen.outline = outline;
          return { trainable: new Map() };
        },
        attach: (model, run) => {
          seen.model = model;
          seen.strategySeed = run.seed;
          return full.attach(model, run);
        },
      }),
    }),
  ];
}

/** A trainer of two steps with an evaluation before and after, on a tiny model, with these services in addition. */
function trainerOf(
  config: object,
  services: readonly ServiceRegistration[],
): { readonly trainer: Trainer; readonly seen: Seen } {
  const seen: Seen = { sources: [], dataSeeds: [], replies: [] };
  const trainer = new Trainer(
    {
      model: 'tiny',
      data: { train: { use: 'recorded' }, eval: { use: 'recorded' }, shuffleDataset: false },
      strategy: 'recorded',
      callbacks: ['recorded'],
      loggers: [],
      optimizer: { learningRate: 0.01 },
      schedule: 'constant',
      training: { maxSteps: 2, evalStrategy: 'ends', saveStrategy: 'no' },
      ...config,
    },
    {
      plugins: [...builtIns, ...recordingPlugins(seen)],
      services: [
        provide(BACKEND_RESOLVER, { resolve: async () => cpu }),
        provide(MODEL_LOADER, { load: async () => loadedOf(tinyModel()) }),
        provide(BATCH_SOURCE_FACTORY, {
          create: async (source, _, { seed }) => {
            seen.sources.push(source);
            seen.dataSeeds.push(seed);
            return shuffledSource(6, 2);
          },
        }),
        provide(LOGGER, recordingLogger()),
        ...services,
      ],
    },
  );
  return { trainer, seen };
}

async function run(config: object, services: readonly ServiceRegistration[]): Promise<Outcome> {
  const { trainer, seen } = trainerOf(config, services);
  const steps: StepReport[] = [];
  const evaluations: EvaluationReport[] = [];
  trainer.on('step', (report) => steps.push(report));
  trainer.on('evaluate', (report) => evaluations.push(report));
  return { seen, report: await trainer.run(), steps, evaluations };
}

/** Batches that record the epochs in which they are read. */
function recordedBatches(epochs: number[]): BatchSource {
  const source = shuffledSource(4, 2);
  return {
    ...source,
    epoch: (epoch, options) => {
      epochs.push(epoch);
      return source.epoch(epoch, options);
    },
  };
}

const isDisposed = (model: LanguageModel): boolean =>
  [...model.parameters.values()].every((parameter) => parameter.isDisposed);

interface Row<T> {
  readonly token: Token<T>;
  readonly replace: () => Replacement<T> | Promise<Replacement<T>>;
}
const row = <T>(token: Token<T>, replace: Row<T>['replace']): Row<T> => ({ token, replace });

/** For every token: a service that the run can only have used if the check holds. */
const rows = [
  row(BACKEND_RESOLVER, () => ({
    service: { resolve: async () => ({ ...cpu, engine: 'resolved' }) },
    check: ({ report }) => expect(report.engine).toBe('resolved'),
  })),
  row(TENSOR_BACKEND, () => ({
    service: { ...cpu, engine: 'registered' },
    services: [provide(BACKEND_RESOLVER, { resolve: () => Promise.reject(new Error('not asked')) })],
    check: ({ report }) => expect(report.engine).toBe('registered'),
  })),
  row(MODEL_LOADER, () => {
    let model: LanguageModel | null = null;
    return {
      service: { load: async () => loadedOf((model = tinyModel(7))) },
      check: ({ seen }) => expect(seen.model).toBe(model),
    };
  }),
  row(MODEL_OUTLINE, () => {
    const outline: ModelOutline = {
      architecture: 'registered',
      vocabularySize: 1,
      hiddenSize: 1,
      layers: 0,
      parameters: new Map(),
      linearSites: new Map(),
      attentionSites: [],
      embeddingSite: { name: 'none' },
    };
    return { service: outline, check: ({ seen }) => expect(seen.outline).toBe(outline) };
  }),
  row(LOADED_MODEL, () => {
    const model = tinyModel(3);
    return {
      service: loadedOf(model),
      services: [provide(MODEL_LOADER, { load: () => Promise.reject(new Error('not asked')) })],
      check: ({ seen }, isOwned) => {
        expect([seen.outline, seen.model]).toEqual([model, model]);
        expect(isDisposed(model)).toBe(isOwned);
        if (!isOwned) model.dispose();
      },
    };
  }),
  row(TRAIN_SOURCE, () => {
    const source = sourceOf('Another question?');
    return { service: source, check: ({ seen }) => expect(seen.sources[1]).toBe(source) };
  }),
  row(EVAL_SOURCE, () => {
    const source = sourceOf('Another question?');
    return { service: source, check: ({ seen }) => expect(seen.sources[0]).toBe(source) };
  }),
  row(BATCH_SOURCE_FACTORY, () => ({
    service: { create: async () => shuffledSource(4, 2) },
    check: ({ evaluations }) => expect(evaluations.map(({ samples }) => samples)).toEqual([4, 4]),
  })),
  row(TRAIN_DATA, () => {
    const epochs: number[] = [];
    return {
      service: recordedBatches(epochs),
      check: ({ seen }) => {
        expect(epochs).toEqual([0]);
        expect(seen.sources).toHaveLength(1);
      },
    };
  }),
  row(EVAL_DATA, () => {
    const epochs: number[] = [];
    return {
      service: recordedBatches(epochs),
      check: ({ seen }) => {
        expect(epochs).toEqual([0, 0]);
        expect(seen.sources).toHaveLength(1);
      },
    };
  }),
  row(OPTIMIZER, () => {
    const updates: number[] = [];
    return {
      service: {
        apply: (_, __, { update }) => void updates.push(update),
        saveState: () => ({ tensors: new Map(), values: null }),
        loadState: () => undefined,
        dispose: () => undefined,
      },
      check: ({ report }) => {
        expect(updates).toEqual([1, 2]);
        expect(report.evalLossAfter).toBe(report.evalLossBefore);
      },
    };
  }),
  row(SCHEDULE, () => ({
    service:
      ({ totalSteps }) =>
      (step) =>
        1 - step / totalSteps,
    check: ({ steps }) => expect(steps.map(({ learningRate }) => learningRate)).toEqual([0.01, 0.005]),
  })),
  row(METRICS, () => ({
    service: [
      { needs: 'none' as const, createAccumulator: () => ({ add: () => undefined, result: () => ({ mine: 3 }) }) },
    ],
    check: ({ evaluations }) => expect(evaluations.map(({ metrics }) => metrics)).toEqual([{ mine: 3 }, { mine: 3 }]),
  })),
  row(LOGGERS, () => {
    const calls: (number | string)[] = [];
    return {
      service: [{ onStep: ({ step }) => void calls.push(step), dispose: () => void calls.push('disposed') }],
      check: (_, isOwned) => expect(calls).toEqual(isOwned ? [1, 2, 'disposed'] : [1, 2]),
    };
  }),
  row(RANDOM, () => ({
    service: { seed: 5, dataSeed: 6 },
    check: ({ seen }) => expect([seen.context?.seed, seen.strategySeed, seen.dataSeeds]).toEqual([5, 5, [6, 6]]),
  })),
  row(CLOCK, () => {
    let seconds = 0;
    return {
      service: { now: () => (seconds += 100), timestamp: () => '1970-01-01T00:00:00Z' },
      check: ({ steps }) =>
        expect(steps.map((step) => step.seconds > 0 && step.seconds % 100 === 0)).toEqual([true, true]),
    };
  }),
  row(LOGGER, () => {
    const logger = recordingLogger();
    return {
      service: logger,
      config: { data: { train: { use: 'recorded' }, eval: { use: 'recorded' }, maxLength: 65 } },
      check: () => expect(logger.lines).toEqual([expect.stringContaining('warn: data.maxLength is 65')]),
    };
  }),
  row(TEXT_GENERATORS, () => {
    const open = () => Promise.reject(new Error('not asked'));
    return { service: open, check: ({ seen }) => expect(seen.context?.openGenerator).toBe(open) };
  }),
  row(LOSS_METERS, () => {
    const measured: unknown[] = [];
    return {
      service: async (model) => {
        measured.push(typeof model === 'string' ? model : 'loaded');
        return { measure: async () => [], dispose: () => {} };
      },
      check: async ({ seen }) => {
        await seen.context?.openLossMeter?.(null);
        await seen.context?.openLossMeter?.('other');
        expect(measured).toEqual(['loaded', 'other']);
      },
    };
  }),
  row(REPLY_GENERATOR, () => ({
    service: async (_, conversations) => conversations.map(({ messages }) => `to ${String(messages[0]?.content)}`),
    config: { evaluation: { metrics: ['recorded'] } },
    check: ({ seen }) => expect(new Set(seen.replies)).toEqual(new Set(['to A question?'])),
  })),
  row(CHECKPOINT_STORE, async () => {
    const saved: number[] = [];
    return {
      service: {
        ...folderCheckpoints,
        save: (...values) => {
          saved.push(values[2].step);
          return folderCheckpoints.save(...values);
        },
      },
      config: {
        output: { folder: join(await temporaryFolder(), 'run') },
        training: { maxSteps: 2, saveStrategy: 'end' },
      },
      check: () => expect(saved).toEqual([2]),
    };
  }),
] as readonly Row<unknown>[];

const nameOf = (token: symbol): string => (token.description ?? '').replace(/^whetstone\./, '');

/** The names of all tokens that an application can import. */
const tokenNames = Object.entries({ ...core, ...contract })
  .filter(([name, value]) => typeof value === 'symbol' && value.description === `whetstone.${name}`)
  .map(([name]) => name)
  .toSorted();

describe('a service that an application registers', () => {
  it('is tested for every token', () => {
    expect(tokenNames).toContain('LOGGER');
    expect(rows.map(({ token }) => nameOf(token)).toSorted()).toEqual(tokenNames);
  });

  it('is documented for every token', async () => {
    const { prose } = await readPage('docs/services.md');
    const documented = prose.flatMap((line) => /^\| `([A-Z_]+)` \|/.exec(line)?.[1] ?? []);
    expect(documented.toSorted()).toEqual(tokenNames);
  });

  it.each(rows.map(({ token, replace }) => ({ name: nameOf(token), token, replace })))(
    'is used by the run: $name',
    async ({ token, replace }) => {
      const before = tf.memory().numTensors;
      for (const isOwned of [false, true]) {
        const { service, config = {}, services = [], check } = await replace();
        let created = 0;
        let disposed = 0;
        Object.assign(service as object, { dispose: () => ++disposed });
        const create = (): unknown => {
          created++;
          return service;
        };
        const registration = !isOwned
          ? provide(token, service)
          : // Messages are logged before anything is awaited.
            provideFactory(token, token === LOGGER ? create : async () => create());
        await check(await run(config, [...services, registration]), isOwned);
        expect(created).toBe(isOwned ? 1 : 0);
        // The run disposes these by their own methods, which the checks test.
        const disposesParts = token === LOADED_MODEL || token === LOGGERS;
        expect(disposed).toBe(isOwned && !disposesParts ? 1 : 0);
      }
      expect(tf.memory().numTensors).toBe(before);
    },
  );
});

describe('services of a run', () => {
  it('are created in order of cost, and disposed in reverse order', async () => {
    const order: string[] = [];
    const recorded = <T>(token: Token<T>, create: () => T): ServiceRegistration =>
      provideFactory(
        token,
        async () => {
          order.push(nameOf(token));
          return create();
        },
        () => void order.push(`dispose ${nameOf(token)}`),
      );
    await run({}, [
      recorded(TRAIN_DATA, () => shuffledSource(6, 2)),
      recorded(EVAL_DATA, () => shuffledSource(6, 2)),
      recorded(TRAIN_SOURCE, () => null),
      recorded(SCHEDULE, () => () => () => 1),
      recorded(METRICS, () => []),
      recorded(TENSOR_BACKEND, () => cpu),
    ]);
    const created = ['TENSOR_BACKEND', 'SCHEDULE', 'METRICS', 'TRAIN_SOURCE', 'EVAL_DATA', 'TRAIN_DATA'];
    expect(order).toEqual([...created, ...created.toReversed().map((name) => `dispose ${name}`)]);
  });

  it('are disposed if a later one cannot be created, and the first error is reported', async () => {
    const disposed: string[] = [];
    const before = tf.memory().numTensors;
    const failing = run({}, [
      provideFactory(
        SCHEDULE,
        () => () => () => 1,
        () => {
          disposed.push('schedule');
          throw new Error('not disposed');
        },
      ),
      provideFactory(TRAIN_DATA, async () => {
        throw new RangeError('no data');
      }),
    ]);
    await expect(failing).rejects.toThrow('no data');
    expect(disposed).toEqual(['schedule']);
    expect(tf.memory().numTensors).toBe(before);
  });

  it('keep a model that a factory loaded for all stages, and dispose it after the last', async () => {
    const models: LanguageModel[] = [];
    const load = async () => {
      const model = tinyModel();
      models.push(model);
      return loadedOf(model);
    };
    const config = {
      stages: [
        { name: 'one', strategy: 'recorded' },
        { name: 'two', strategy: { use: 'lora', options: { rank: 2 } } },
      ],
      output: { folder: join(await temporaryFolder(), 'run') },
    };
    const { report, seen } = await run(config, [provideFactory(LOADED_MODEL, load)]);
    expect(report.steps).toBe(4);
    expect(models).toEqual([seen.model]);
    expect(models.map(isDisposed)).toEqual([true]);
  });

  it('share the backend of a concurrent run, which another run cannot change', async () => {
    const requests: string[] = [];
    const resolver = provide(BACKEND_RESOLVER, {
      resolve: async ({ name }) => {
        requests.push(name);
        return cpu;
      },
    });
    const first = trainerOf({ backend: 'cpu' }, [resolver]).trainer.reports();
    await first.next();
    await expect(run({ backend: 'wasm' }, [resolver])).rejects.toMatchObject({
      code: 'BACKEND_UNAVAILABLE',
      message: 'Another run in this process uses the backend cpu. A process has one backend at a time.',
    });
    const { report } = await run({ backend: 'auto' }, [resolver]);
    expect(report.backend).toBe('cpu');
    expect(requests).toEqual(['cpu']);
    for (let next = await first.next(); next.done !== true; next = await first.next());
    await run({ backend: 'wasm' }, [resolver]);
    expect(requests).toEqual(['cpu', 'wasm']);
  });

  it('that need each other end the run with an error', async () => {
    const failing = run({}, [
      provideFactory(TRAIN_DATA, async (services) => {
        await services.resolve(LOADED_MODEL);
        return shuffledSource(6, 2);
      }),
      provideFactory(LOADED_MODEL, async (services) => {
        await services.resolve(TRAIN_DATA);
        return loadedOf(tinyModel());
      }),
    ]);
    await expect(failing).rejects.toMatchObject({
      code: 'SERVICE_CIRCULAR',
      details: { tokens: ['LOADED_MODEL', 'TRAIN_DATA', 'LOADED_MODEL'] },
    });
  });
});
