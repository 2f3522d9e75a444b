import { add, clone, dispose, memory, tensor, tidy, type Tensor } from '@tensorflow/tfjs-core';
import { expect } from 'vitest';
import type { Attachment, ExportedAdapter, LanguageModel } from '@whetstone/core/contract';
import { testRandom } from '@whetstone/core/util';
import { batchOf } from './batches.js';
import { expectCoded, expectDeclaration, expectReadable, throughJson, type Check, type Checks } from './check.js';
import { expectGradients, expectTrainingGradients } from './expect-gradients.js';
import { resolveOptions, testContext } from './options.js';
import { gradientsOf, valuesOf } from './steps.js';
import {
  copyState,
  DEFAULT_LEARNING_RATE,
  largestDifference,
  logitsOf,
  microbatches,
  restore,
  rowsOf,
  save,
  trainableOf,
  withBench,
  type AttachedStrategy,
  type StrategyBench,
} from './strategy-bench.js';
import type { DescribeStrategyOptions, StrategySubject } from './strategy-subject.js';

/** The seed and the size of the last change to what is trained, before it is exported. */
const [SCATTER_SEED, SCATTER] = [29, 0.05];

type StrategyCheck = Check<StrategySubject>;

/** A check that runs on a bench, and has it cleaned up. */
const onBench = (
  name: string,
  run: (bench: StrategyBench, subject: StrategySubject) => Promise<void>,
  applies: (subject: StrategySubject) => boolean = () => true,
): StrategyCheck => ({
  name,
  applies,
  run: (subject) => withBench(subject, (bench) => run(bench, subject)),
});

const declaresItself: StrategyCheck = {
  name: 'declares itself',
  run: async ({ plugin }) => expectDeclaration(plugin, ['strategy']),
};

const refusesBadOptions = onBench('refuses bad options', async (bench, { plugin, options }) => {
  const model = await bench.model();
  const before = memory().numTensors;
  let resolved;
  try {
    resolved = resolveOptions(plugin.configSchema, options);
  } catch {
    return; // The schema refused them, and a run reports that with the path of each problem.
  }
  const refusal = await bench.attach({ model, options: resolved }).then(
    () => null,
    (error: unknown) => ({ error }),
  );
  if (refusal === null) expect.fail('neither the schema nor the strategy refused the options');
  expectCoded(refusal.error);
  expect(memory().numTensors, 'tensors left over by the refusal').toBe(before);
});

const startsAsBase = onBench(
  'starts as the base model',
  async (bench) => {
    const model = await bench.model();
    const base = logitsOf(model);
    await bench.attach({ model });
    const difference = largestDifference(logitsOf(model), base);
    expect(difference, 'difference of a logit right after attaching').toBeLessThanOrEqual(1e-5);
  },
  ({ settings }) => settings.startsAsBase ?? true,
);

const givesBaseBack = onBench('gives the base model back', async (bench) => {
  const model = await bench.model();
  const base = logitsOf(model);
  const { detach } = await bench.attach({ model });
  detach();
  expect(logitsOf(model), 'logits after dispose').toEqual(base);
  const trainable = [...model.parameters].filter(([, parameter]) => parameter.trainable).map(([name]) => name);
  expect(trainable, 'parameters that are still trainable after dispose').toEqual([]);
});

const leavesOptions = onBench('leaves its options unchanged', async (bench, { plugin, options }) => {
  const resolved = resolveOptions(plugin.configSchema, options);
  const before = structuredClone(resolved);
  const work = await bench.attach({ options: resolved });
  work.train(0, 1);
  expect(resolved, 'options after a step').toEqual(before);
});

const doesWhatItPlans = onBench('does what it plans, if it makes a plan', async (bench) => {
  const strategy = await bench.create();
  if (strategy.plan === undefined || strategy.role === 'companion') return;
  const model = await bench.model();
  const { trainable: planned } = await strategy.plan(model, null);
  const { attachment } = await bench.attach({ model });
  // Gradual unfreezing begins with a part of what is planned.
  const trainPresent = attachment.trainAll?.();
  const shapes = new Map([...attachment.trainable].map(([name, { shape }]) => [name, shape] as const));
  trainPresent?.();
  for (const [name, shape] of shapes) expect(planned.get(name), `planned shape of ${name}`).toEqual(shape);
  const untrained = [...planned.keys()].filter((name) => !shapes.has(name));
  expect(untrained, 'planned parameters that the attachment does not train').toEqual([]);
});

/** Values of what the optimizer updates: float32 copies if a parameter is stored in fewer bytes. */
const updatedBy = ({ attachments }: AttachedStrategy): Map<string, Float32Array> =>
  valuesOf(new Map(attachments.flatMap(({ masters, trainable }) => [...trainable, ...(masters ?? [])])));

/**
 * Returns whether a parameter has a gradient, but one so small that a step rounds to the same value. In a small model,
 * that is so for the A of queries and keys while B is close to zero.
 */
function isBelowRounding(values: Float32Array, gradient: Float32Array | undefined, learningRate: number): boolean {
  if (gradient === undefined || gradient.every((value) => value === 0)) return false;
  return values.every((value, index) => Math.fround(value - learningRate * (gradient[index] ?? NaN)) === value);
}

const changesOnlyTrained = onBench('changes what it trains and nothing else', async (bench, { settings }) => {
  const work = await bench.attach();
  // A strategy may quantise what it freezes; from here on it stays as it is.
  const before = valuesOf(work.model.parameters);
  expect(trainableOf(work.attachments).size, 'number of trainable parameters').toBeGreaterThan(0);
  const start = updatedBy(work);
  work.train(0, 3);
  const end = updatedBy(work);
  const gradients = gradientsOf(work.model, work.attachments, [batchOf(rowsOf(work.model))], 3);
  const gradientValues = valuesOf(gradients);
  for (const gradient of gradients.values()) gradient.dispose();
  const unchanged = [...start].filter(
    ([name, values]) =>
      largestDifference(end.get(name) ?? values, values) === 0 &&
      !isBelowRounding(values, gradientValues.get(name), settings.learningRate ?? DEFAULT_LEARNING_RATE),
  );
  const names = unchanged.map(([name]) => name).join(', ');
  expect(unchanged.length, `number of trainable parameters that three steps did not change (${names})`).toBe(0);
  const trained = new Set<unknown>(trainableOf(work.attachments).values());
  for (const [name, parameter] of work.model.parameters) {
    if (trained.has(parameter)) continue;
    const difference = largestDifference(
      Float32Array.from(parameter.dataSync()),
      before.get(name) ?? new Float32Array(),
    );
    expect(difference, `change of ${name}, which is not trainable`).toBe(0);
  }
});

const keepsTensorCount = onBench('keeps the number of tensors from step to step', async (bench) => {
  const work = await bench.attach();
  work.train(0, 2);
  const before = memory().numTensors;
  work.train(2, 4);
  expect(memory().numTensors, 'tensors after two further steps').toBe(before);
});

const disposesTensors = onBench('disposes every tensor that it makes', async (bench) => {
  const model = await bench.model();
  const before = memory().numTensors;
  const work = await bench.attach({ model });
  work.train(0, 3);
  for (const attachment of work.attachments) {
    attachment.saveState();
    attachment.exportAdapter?.();
  }
  work.detach();
  expect(memory().numTensors, 'tensors left over after dispose').toBe(before);
});

const hasItsGradients = onBench('has the gradients of its loss', async (bench, { settings }) => {
  const work = await bench.attach();
  work.train(0, 2);
  const batches = [batchOf(rowsOf(work.model))];
  expectGradients(work, batches, settings.exactGradients ?? (() => true));
  expectTrainingGradients(work, batches, settings.exactGradients ?? (() => true));
});

const addsMicrobatchesUp = onBench('gives 1×8, 2×4 and 4×2 microbatches the same gradients', async (bench) => {
  const work = await bench.attach();
  work.train(0, 1);
  const gradientsWith = (sizes: readonly number[]): Map<string, Float32Array> => {
    const gradients = gradientsOf(work.model, work.attachments, microbatches(rowsOf(work.model), sizes), 1);
    const values = valuesOf(gradients);
    dispose([...gradients.values()]);
    return values;
  };
  const whole = gradientsWith([8]);
  expect(whole.size, 'number of gradients').toBeGreaterThan(0);
  for (const sizes of [
    [4, 4],
    [2, 2, 2, 2],
  ]) {
    const cut = gradientsWith(sizes);
    for (const [name, values] of whole) {
      const scale = Math.max(1e-3, largestDifference(values, new Float32Array(values.length)));
      const difference = largestDifference(cut.get(name) ?? new Float32Array(), values) / scale;
      expect(difference, `relative difference of the gradient of ${name} in ${sizes.length} batches`).toBeLessThan(
        1e-3,
      );
    }
  }
});

const readsItsState = onBench('reads the state that it writes', async (bench) => {
  const straight = await bench.attach();
  straight.train(0, 3);
  const written = copyState(straight.attachment.saveState());
  const saved = save(straight);
  straight.detach();
  const resumed = await bench.attach();
  expectReadable(() => restore(resumed, saved));
  const read = resumed.attachment.saveState();
  expect(read.values, 'saveState().values after loadState').toEqual(written.values);
  expect(valuesOf(read.tensors), 'saveState().tensors after loadState').toEqual(valuesOf(written.tensors));
  dispose([...written.tensors.values()]);
});

const resumesExactly = onBench('resumes exactly: 5 + save + load + 5 steps are 10', async (bench) => {
  const straight = await bench.attach();
  straight.train(0, 5);
  const saved = save(straight);
  straight.train(5, 10);
  const expected = straight.trained();
  straight.detach();
  const resumed = await bench.attach();
  restore(resumed, saved);
  resumed.train(5, 10);
  expect(resumed.trained(), 'parameters after a resumed run').toEqual(expected);
});

const returnsToState = onBench('returns to a state that it saved, after further steps', async (bench) => {
  const work = await bench.attach();
  work.train(0, 3);
  const before = memory().numTensors;
  const saved = save(work);
  work.train(3, 6);
  const expected = stateOf(work);
  restore(work, saved);
  work.train(3, 6);
  const repeated = stateOf(work);
  expect(repeated.trained, 'parameters after a rollback').toEqual(expected.trained);
  expect(repeated.states, 'saveState() after a rollback').toEqual(expected.states);
  expect(memory().numTensors, 'tensors after a rollback').toBe(before);
});

/** Values of everything that is trained, and of the states of the attachments. */
function stateOf({ attachments, trained }: AttachedStrategy) {
  const states = attachments.map((attachment) => {
    const { tensors, values } = attachment.saveState();
    return { tensors: valuesOf(tensors), values: structuredClone(values) };
  });
  return { trained: trained(), states };
}

/** Values of what is trained after two steps from a seed. */
async function trainedFrom(bench: StrategyBench, seed: number): Promise<Map<string, Float32Array>> {
  const work = await bench.attach({ seed });
  work.train(0, 2);
  const trained = work.trained();
  work.detach();
  return trained;
}

const repeatsItself = onBench('trains the same again from the same seed', async (bench) => {
  const first = await trainedFrom(bench, testContext.seed);
  expect(await trainedFrom(bench, testContext.seed), 'parameters of a second run from the same seed').toEqual(first);
});

const usesItsSeed = onBench(
  'trains differently from another seed',
  async (bench) => {
    const first = await trainedFrom(bench, testContext.seed);
    const second = await trainedFrom(bench, testContext.seed + 1);
    expect(second, 'parameters of a run from another seed').not.toEqual(first);
  },
  ({ settings }) => settings.seeded === true,
);

const sharesNothing = onBench('shares nothing with another attachment', async (bench) => {
  const [one, other] = [await bench.attach(), await bench.attach()];
  one.train(0, 2);
  other.train(0, 2);
  expect(other.trained(), 'parameters of the attachment that was trained second').toEqual(one.trained());
});

/** Changes every element of what is trained, so that an export that lacks one of them has other logits. */
function scatter({ attachment: { masters, trainable } }: AttachedStrategy): void {
  if (masters !== undefined) return; // The parameters are rounded copies, which a step would overwrite.
  const random = testRandom(SCATTER_SEED);
  for (const parameter of new Set(trainable.values())) {
    const values = Float32Array.from({ length: parameter.size }, () => SCATTER * (2 * random() - 1));
    const next = tidy(() => add(parameter, tensor(values, parameter.shape)));
    parameter.assign(next as typeof parameter);
    next.dispose();
  }
}

/**
 * Trains three steps, changes all that is trained once more, and detaches; returns the logits of the trained model, and
 * a copy of the exported adapter.
 */
function exportAfterTraining(work: AttachedStrategy): { logits: Float32Array; adapter: ExportedAdapter } {
  work.train(0, 3);
  scatter(work);
  const logits = logitsOf(work.model);
  const adapter = work.attachment.exportAdapter?.();
  if (adapter === undefined) expect.fail('the attachment exports no adapter');
  const tensors = new Map([...adapter.tensors].map(([name, value]) => [name, clone(value)] as const));
  const config = throughJson(adapter.config, 'exportAdapter');
  work.detach();
  return { logits, adapter: { config, tensors } };
}

const trainedAdapter = async (bench: StrategyBench): Promise<ReturnType<typeof exportAfterTraining>> =>
  exportAfterTraining(await bench.attach());

function expectParity(model: LanguageModel, trained: Float32Array, { settings }: StrategySubject, how: string): void {
  const difference = largestDifference(logitsOf(model), trained);
  const message = `difference of a logit between the trained model and the ${how}`;
  expect(difference, message).toBeLessThanOrEqual(settings.parityTolerance ?? 1e-4);
}

const exportsItsTypes = onBench(
  'exports an adapter of a type that it reads',
  async (bench, { plugin }) => {
    const { adapter } = await trainedAdapter(bench);
    dispose([...adapter.tensors.values()]);
    const type = (adapter.config as { readonly peft_type?: unknown } | null)?.peft_type;
    expect(plugin.adapter?.peftTypes, "types that the plugin's adapter reads").toContain(type);
  },
  ({ plugin }) => plugin.adapter !== undefined,
);

/** What the suite uses of `@whetstone/strategies`. */
interface BuiltInReaders {
  loadAdapter(model: LanguageModel, files: ExportedAdapter): Promise<Pick<Attachment, 'dispose'>>;
}

/** Returns the readers of the built-in strategies; null if their package is not installed. */
async function builtInReaders(): Promise<BuiltInReaders | null> {
  // Not a dependency: only adapters of a built-in type need it.
  const name: string = '@whetstone/strategies';
  return import(name).then(
    (readers: unknown) => readers as BuiltInReaders,
    () => null,
  );
}

/** Loads an adapter as the commands do: by the settings of the suite, by the plugin, or by a built-in strategy. */
async function loadExported(
  { plugin, settings }: StrategySubject,
  model: LanguageModel,
  files: ExportedAdapter,
): Promise<Pick<Attachment, 'dispose'>> {
  const { adapter } = plugin;
  if (settings.load !== undefined) return settings.load(model, files);
  if (adapter === undefined) {
    const readers = await builtInReaders();
    if (readers !== null) return readers.loadAdapter(model, files);
    return expect.fail(
      'the attachment exports an adapter that nothing reads: give the plugin an `adapter`, or set `load` in the ' +
        'options of describeStrategy, for example to loadAdapter of @whetstone/strategies',
    );
  }
  const before = logitsOf(model);
  const prepared = await adapter.load(model, files);
  expect(logitsOf(model), 'logits after adapter.load, before attach').toEqual(before);
  prepared.attach()();
  expect(logitsOf(model), 'logits after an adapter was attached and detached').toEqual(before);
  const detach = prepared.attach();
  return {
    dispose: () => {
      detach();
      prepared.dispose();
    },
  };
}

const exportsLoadable = onBench('exports an adapter that gives the same logits when loaded', async (bench, subject) => {
  const work = await bench.attach();
  const isRead = subject.plugin.adapter !== undefined || subject.settings.load !== undefined;
  if (work.attachment.exportAdapter === undefined && !isRead) return;
  // Such an adapter is loaded on a base that is stored in another way: only `load` of the settings can do that.
  if ((await bench.create()).storage !== undefined && !isRead) return;
  const { logits, adapter } = exportAfterTraining(work);
  const model = await bench.model();
  const before = memory().numTensors;
  const loaded = await loadExported(subject, model, adapter);
  expectParity(model, logits, subject, 'loaded adapter');
  loaded.dispose();
  expect(memory().numTensors, 'tensors left over by the loaded adapter').toBe(before);
  dispose([...adapter.tensors.values()]);
});

/** What a run saves without an adapter is the parameters of the model: nothing else may be trained then. */
const savesModel = onBench('saves a model that gives the same logits when loaded', async (bench, subject) => {
  const work = await bench.attach();
  const isCompanion = work.attachments.length > 1;
  if (isCompanion || work.attachment.exportAdapter !== undefined) return;
  work.train(0, 3);
  const logits = logitsOf(work.model);
  const model = await bench.model();
  for (const [name, parameter] of model.parameters)
    parameter.assign(work.model.parameters.get(name) ?? expect.fail(`the trained model lacks the parameter ${name}`));
  expectParity(model, logits, subject, 'saved model');
});

/** Returns how the subject merges an adapter: by its settings, otherwise by the plugin. */
function mergerOf({ plugin: { adapter }, settings }: StrategySubject): DescribeStrategyOptions['merge'] {
  if (settings.merge !== undefined || adapter?.merge === undefined) return settings.merge;
  return (model, files) => adapter.merge?.(model, files) ?? new Map<string, Tensor>();
}

const exportsMergeable = onBench(
  'exports an adapter that gives the same logits when merged',
  async (bench, subject) => {
    const { logits, adapter } = await trainedAdapter(bench);
    const model = await bench.model();
    const before = logitsOf(model);
    const weights = (await mergerOf(subject)?.(model, adapter)) ?? new Map<string, Tensor>();
    expect(logitsOf(model), 'logits of the base model after merging').toEqual(before);
    const undo = [...weights].map(([name, weight]) => replaceWeight(model, name, weight));
    expectParity(model, logits, subject, 'merged adapter');
    for (const step of undo) step();
    dispose([...weights.values(), ...adapter.tensors.values()]);
  },
  (subject) => mergerOf(subject) !== undefined,
);

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

/** The checks that `describeStrategy` registers as tests. */
export const strategyChecks: Checks<StrategySubject> = {
  plugin: [declaresItself],
  badOptions: [refusesBadOptions],
  options: [
    startsAsBase,
    givesBaseBack,
    leavesOptions,
    doesWhatItPlans,
    changesOnlyTrained,
    keepsTensorCount,
    disposesTensors,
    hasItsGradients,
    addsMicrobatchesUp,
    readsItsState,
    resumesExactly,
    returnsToState,
    repeatsItself,
    usesItsSeed,
    sharesNothing,
    exportsItsTypes,
    exportsLoadable,
    savesModel,
    exportsMergeable,
  ],
};
