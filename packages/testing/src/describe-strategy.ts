import { clone, dispose, memory, tidy, type Tensor } from '@tensorflow/tfjs-core';
import { afterEach, describe, expect, it } from 'vitest';
import {
  PLUGIN_API_VERSION,
  type Attachment,
  type ExportedAdapter,
  type LanguageModel,
  type StrategyRun,
} from '@whetstone/core/contract';
import { batchOf, randomRows, type Row } from './batches.js';
import { expectGradients } from './expect-gradients.js';
import { createFrom, resolveOptions, type Options, type TestedPlugin } from './options.js';
import { gradientsOf, takeStep, valuesOf } from './steps.js';

/** Settings of {@link describeStrategy}. */
export interface DescribeStrategyOptions {
  /** A fresh tiny model, the same at every call. Each is disposed by the suite. */
  readonly model: () => LanguageModel | Promise<LanguageModel>;
  /** Sets of options to test, by a name for the report. */
  readonly options: Readonly<Record<string, Options>>;
  /** Options that must be refused: by the schema, when the strategy is made, or when it is attached. */
  readonly badOptions?: Readonly<Record<string, Options>>;
  /** Whether the model computes the same right after attaching; true by default. */
  readonly startsAsBase?: boolean;
  /**
   * Whether gradients are those of the loss; false where a part is held constant on purpose (DoRA). True by default.
   */
  readonly exactGradients?: (name: string) => boolean;
  /** For companions: what owns the parameters beside them. */
  readonly owner?: (model: LanguageModel, run: StrategyRun) => Attachment | Promise<Attachment>;
  /** More of the run that the strategy needs. */
  readonly run?: Partial<StrategyRun>;
  /** Puts an exported adapter on a model, for parity with the trained one. */
  readonly load?: (model: LanguageModel, adapter: ExportedAdapter) => Pick<LanguageModel, 'dispose'>;
  /** Weights of model and adapter in one, by parameter name; disposed by the suite. */
  readonly merge?: (model: LanguageModel, adapter: ExportedAdapter) => ReadonlyMap<string, Tensor>;
  /** Largest difference of a logit that loading or merging may make; 1e-4 by default. */
  readonly parityTolerance?: number;
  readonly learningRate?: number;
}

interface AtWork {
  readonly model: LanguageModel;
  readonly attachments: readonly Attachment[];
  /** Of the strategy under test. */
  readonly attachment: Attachment;
  /** Disposes the attachments, the model not. */
  detach(): void;
}

const rowsOf = (model: LanguageModel): Row[] => randomRows(8, model.vocabularySize, 11);
/** Logits of every real token: what stands at padding means nothing. */
function logitsOf(model: LanguageModel): Float32Array {
  const batch = batchOf(rowsOf(model));
  const real = Int32Array.from([...batch.segmentIds.keys()].filter((index) => batch.segmentIds[index] !== 0));
  return tidy(() => Float32Array.from(model.logits(batch, real).dataSync()));
}
const largestDifference = (one: Float32Array, other: Float32Array): number =>
  one.reduce((worst, value, index) => Math.max(worst, Math.abs(value - (other[index] ?? NaN))), 0);

/**
 * The conformance suite of strategies. It calls vitest's `describe` and `it`, so it stands at the top of a test file.
 * Every check also looks for tensors that are left over.
 */
export function describeStrategy(plugin: TestedPlugin<'strategy'>, settings: DescribeStrategyOptions): void {
  const { startsAsBase = true, exactGradients = () => true, parityTolerance = 1e-4, learningRate = 0.1 } = settings;
  const run: StrategyRun = { seed: 7, totalSteps: 10, modelFolder: null, ...settings.run };

  const attach = async (model: LanguageModel, options: Options): Promise<AtWork> => {
    const strategy = await createFrom(plugin, options);
    const owner = strategy.role === 'companion' ? await ownerOf(model, settings, run) : null;
    let attachment: Attachment;
    try {
      attachment = await strategy.attach(model, owner === null ? run : { ...run, owner });
    } catch (error) {
      owner?.dispose();
      throw error;
    }
    const attachments = owner === null ? [attachment] : [owner, attachment];
    return {
      model,
      attachment,
      attachments,
      detach: () => {
        for (const each of [...attachments].reverse()) each.dispose();
      },
    };
  };

  // A machine at work on other things must not make a strategy look wrong.
  describe(`strategy ${plugin.name}`, { timeout: 120_000 }, () => {
    it('declares itself', () => {
      expect(plugin).toMatchObject({
        apiVersion: PLUGIN_API_VERSION,
        kind: 'strategy',
        configSchema: { type: 'object', additionalProperties: false },
      });
      expect(plugin.name).not.toBe('');
    });

    it.each(Object.entries(settings.badOptions ?? {}))('refuses %s', async (_name, options) => {
      const model = await settings.model();
      const before = memory().numTensors;
      const attempt = async (): Promise<void> => {
        const { detach } = await attach(model, resolveOptions(plugin.configSchema, options));
        detach();
      };
      await expect(attempt()).rejects.toThrow();
      expect(memory().numTensors, 'tensors left over').toBe(before);
      model.dispose();
    });

    describe.each(Object.entries(settings.options))('%s', (name, options) => {
      let clean: (() => void)[] = [];
      afterEach(() => {
        for (const step of clean.reverse()) step();
        clean = [];
      });
      const freshModel = async (): Promise<LanguageModel> => {
        const model = await settings.model();
        clean.push(() => model.dispose());
        return model;
      };
      const steps = (work: AtWork, from: number, to: number, cut: readonly number[] = [8]): void => {
        for (let step = from; step < to; step += 1)
          takeStep(work.model, work.attachments, microbatches(rowsOf(work.model), cut), step, learningRate);
      };

      it(startsAsBase ? 'starts as the base model and gives it back' : 'gives the base model back', async () => {
        const model = await freshModel();
        const base = logitsOf(model);
        const before = memory().numTensors;
        const { detach } = await attach(model, options);
        if (startsAsBase) expect(largestDifference(logitsOf(model), base)).toBeLessThanOrEqual(1e-5);
        detach();
        expect(logitsOf(model)).toEqual(base);
        expect([...model.parameters.values()].filter(({ trainable }) => trainable)).toEqual([]);
        expect(memory().numTensors, 'tensors left over').toBe(before);
      });

      it('does what it plans, where it makes a plan', async () => {
        const model = await freshModel();
        const strategy = await createFrom(plugin, options);
        if (strategy.plan === undefined || strategy.role === 'companion') return;
        const plan = await strategy.plan(model, null);
        const { attachment, detach } = await attach(model, options);
        const named = new Set(plan.trainable.keys());
        for (const [key, variable] of attachment.trainable)
          expect(plan.trainable.get(key), key).toEqual(variable.shape);
        // Gradual unfreezing begins with a part of what is planned.
        expect(named.size).toBeGreaterThanOrEqual(attachment.trainable.size);
        detach();
      });

      it('changes what it trains and nothing else', async () => {
        const model = await freshModel();
        const work = await attach(model, options);
        // A strategy may quantise what it freezes; from here on it stays as it is.
        const before = valuesOf(model.parameters);
        expect(
          work.attachments.some(({ trainable }) => trainable.size > 0),
          'trainable parameters',
        ).toBe(true);
        const start = valuesOf(new Map(work.attachments.flatMap(({ trainable }) => [...trainable])));
        steps(work, 0, 3);
        const end = valuesOf(new Map(work.attachments.flatMap(({ trainable }) => [...trainable])));
        const trained = new Set<unknown>(work.attachments.flatMap(({ trainable }) => [...trainable.values()]));
        expect(
          [...end].some(([key, values]) => largestDifference(values, start.get(key) ?? values) > 0),
          'something was trained',
        ).toBe(true);
        for (const [key, parameter] of model.parameters) {
          if (!trained.has(parameter)) expect(Float32Array.from(parameter.dataSync()), key).toEqual(before.get(key));
        }
        work.detach();
      });

      it('keeps the number of tensors from step to step', async () => {
        const work = await attach(await freshModel(), options);
        steps(work, 0, 2);
        const flat = memory().numTensors;
        steps(work, 2, 4);
        expect(memory().numTensors).toBe(flat);
        work.detach();
      });

      it('has the gradients of its loss', async () => {
        const work = await attach(await freshModel(), options);
        steps(work, 0, 2);
        expectGradients(work, [batchOf(rowsOf(work.model))], exactGradients);
        work.detach();
      });

      it('gives 1×8, 2×4 and 4×2 microbatches the same gradients', async () => {
        const work = await attach(await freshModel(), options);
        steps(work, 0, 1);
        const [whole, ...others] = [[8], [4, 4], [2, 2, 2, 2]].map((cut) => {
          const gradients = gradientsOf(work.model, work.attachments, microbatches(rowsOf(work.model), cut), 1);
          const values = valuesOf(gradients);
          dispose([...gradients.values()]);
          return values;
        });
        for (const other of others) {
          for (const [key, values] of whole ?? []) {
            const scale = Math.max(1e-3, largestDifference(values, new Float32Array(values.length)));
            expect(largestDifference(other.get(key) ?? new Float32Array(), values) / scale, key).toBeLessThan(1e-3);
          }
        }
        work.detach();
      });

      it('resumes exactly: 5 + save + load + 5 steps are 10', async () => {
        const straight = await attach(await freshModel(), options);
        steps(straight, 0, 5);
        const saved = straight.attachments.map((attachment) => {
          const state = attachment.saveState();
          return {
            trainable: new Map([...attachment.trainable].map(([key, value]) => [key, clone(value)] as const)),
            state: {
              tensors: new Map([...state.tensors].map(([key, value]) => [key, clone(value)] as const)),
              values: JSON.parse(JSON.stringify(state.values)),
            },
          };
        });
        steps(straight, 5, 10);
        const expected = valuesOf(new Map(straight.attachments.flatMap(({ trainable }) => [...trainable])));
        straight.detach();

        const resumed = await attach(await freshModel(), options);
        for (const [index, attachment] of resumed.attachments.entries()) {
          const { trainable, state } = saved[index] ?? {
            trainable: new Map<string, Tensor>(),
            state: { tensors: new Map(), values: null },
          };
          attachment.loadState(state);
          for (const [key, variable] of attachment.trainable)
            variable.assign((trainable.get(key) ?? variable) as Tensor);
          dispose([...trainable.values(), ...state.tensors.values()]);
        }
        steps(resumed, 5, 10);
        expect(valuesOf(new Map(resumed.attachments.flatMap(({ trainable }) => [...trainable])))).toEqual(expected);
        resumed.detach();
      });

      if (settings.load !== undefined || settings.merge !== undefined) {
        it('exports an adapter that gives the same logits, loaded and merged', async () => {
          const work = await attach(await freshModel(), options);
          steps(work, 0, 3);
          const trained = logitsOf(work.model);
          const adapter = work.attachment.exportAdapter?.();
          expect(adapter, `${name} exports no adapter`).toBeDefined();
          if (adapter === undefined) return;
          const copy = {
            config: adapter.config,
            tensors: new Map([...adapter.tensors].map(([key, value]) => [key, clone(value)] as const)),
          };
          work.detach();
          const model = await freshModel();
          const loaded = settings.load?.(model, copy);
          if (loaded !== undefined)
            expect(largestDifference(logitsOf(model), trained)).toBeLessThanOrEqual(parityTolerance);
          loaded?.dispose();
          const merged = settings.merge?.(model, copy);
          if (merged !== undefined) {
            const restore = [...merged].map(([key, weight]) => replaceWeight(model, key, weight));
            expect(largestDifference(logitsOf(model), trained)).toBeLessThanOrEqual(parityTolerance);
            for (const step of restore) step();
            dispose([...merged.values()]);
          }
          dispose([...copy.tensors.values()]);
        });
      }
    });
  });
}

async function ownerOf(model: LanguageModel, settings: DescribeStrategyOptions, run: StrategyRun): Promise<Attachment> {
  if (settings.owner === undefined) throw new Error('A companion is tested beside an owner: give `owner`.');
  return settings.owner(model, run);
}

/** The rows in batches of the given sizes. */
function microbatches(rows: readonly Row[], sizes: readonly number[]): ReturnType<typeof batchOf>[] {
  let start = 0;
  return sizes.map((size) => {
    const batch = batchOf(rows.slice(start, start + size));
    start += size;
    return batch;
  });
}

/** Puts a weight in a parameter's place; the result puts the parameter back. */
function replaceWeight(model: LanguageModel, name: string, weight: Tensor): () => void {
  const site = name.endsWith('.weight') ? model.linearSites.get(name.slice(0, -'.weight'.length)) : undefined;
  if (site !== undefined)
    return site.replaceWeight(() => weight as ReturnType<Parameters<typeof site.replaceWeight>[0]>);
  const parameter = model.parameters.get(name);
  if (parameter === undefined) throw new Error(`The model has no parameter ${name}.`);
  const before = clone(parameter);
  parameter.assign(weight);
  return () => {
    parameter.assign(before as Tensor);
    before.dispose();
  };
}
