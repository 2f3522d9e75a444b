import { clone, dispose, tidy, type Tensor, type Variable } from '@tensorflow/tfjs-core';
import type { Attachment, Batch, LanguageModel, SavedState, Strategy, StrategyRun } from '@whetstone/core/contract';
import { batchOf, randomRows, type Row } from './batches.js';
import { throughJson } from './check.js';
import { resolveOptions, testContext, type Options } from './options.js';
import { takeStep, valuesOf } from './steps.js';
import type { DescribeStrategyOptions, StrategySubject } from './strategy-subject.js';

/** A strategy attached to a model, beside its owner if it is a companion. */
export interface AttachedStrategy {
  readonly model: LanguageModel;
  /** The owner, if the strategy is a companion, and the strategy. */
  readonly attachments: readonly Attachment[];
  /** The attachment of the strategy under test. */
  readonly attachment: Attachment;
  /** Trains steps `from` to `to`, without `to`. */
  train(from: number, to: number): void;
  /** Values of everything that is trained. */
  trained(): Map<string, Float32Array>;
  /** Disposes the attachments, but not the model. A second call does nothing. */
  detach(): void;
}

/** Creates models and attached strategies for one check. */
export interface StrategyBench {
  /** Returns a fresh model. */
  model(): Promise<LanguageModel>;
  /** Creates the strategy. `options`: already resolved; the subject's by default. */
  create(options?: Options, seed?: number): Promise<Strategy>;
  /** Attaches the strategy, to a fresh model by default. */
  attach(changes?: {
    readonly model?: LanguageModel;
    readonly options?: Options;
    readonly seed?: number;
  }): Promise<AttachedStrategy>;
}

/** Learning rate of the checks' steps, if `learningRate` of the options is not set. */
export const DEFAULT_LEARNING_RATE = 0.1;

/** Rows that the suite trains on and computes logits of. */
export const rowsOf = (model: LanguageModel): Row[] => randomRows(8, model.vocabularySize, 11);

/** Returns the rows in batches of the given sizes. */
export function microbatches(rows: readonly Row[], sizes: readonly number[]): Batch[] {
  let start = 0;
  return sizes.map((size) => {
    const batch = batchOf(rows.slice(start, start + size));
    start += size;
    return batch;
  });
}

/** Returns logits of every token that is not padding. */
export function logitsOf(model: LanguageModel): Float32Array {
  const batch = batchOf(rowsOf(model));
  const real = Int32Array.from([...batch.segmentIds.keys()].filter((index) => batch.segmentIds[index] !== 0));
  return tidy(() => Float32Array.from(model.logits(batch, real).dataSync()));
}

/** Returns the largest difference between two vectors; NaN if they differ in length or hold a NaN. */
export function largestDifference(one: Float32Array, other: Float32Array): number {
  if (one.length !== other.length) return NaN;
  return one.reduce((worst, value, index) => Math.max(worst, Math.abs(value - (other[index] ?? NaN))), 0);
}

/** Returns the variables that the attachments train, by name. */
export const trainableOf = (attachments: readonly Attachment[]): Map<string, Tensor> =>
  new Map(attachments.flatMap(({ trainable }) => [...trainable]));

/** Returns a copy of a state as a checkpoint keeps it: cloned tensors, and values that went through JSON. */
export function copyState({ tensors, values }: SavedState): SavedState {
  const kept = throughJson(values);
  return { tensors: new Map([...tensors].map(([key, value]) => [key, clone(value)] as const)), values: kept };
}

async function ownerOf(model: LanguageModel, settings: DescribeStrategyOptions, run: StrategyRun): Promise<Attachment> {
  if (settings.owner === undefined)
    throw new Error('A companion is tested beside an owner: set `owner` in the options of describeStrategy.');
  return settings.owner(model, run);
}

function attachedStrategy(
  model: LanguageModel,
  attachment: Attachment,
  owner: Attachment | null,
  learningRate = DEFAULT_LEARNING_RATE,
): AttachedStrategy {
  const attachments = owner === null ? [attachment] : [owner, attachment];
  let isAttached = true;
  return {
    model,
    attachment,
    attachments,
    train: (from, to) => {
      for (let step = from; step < to; step++)
        takeStep(model, attachments, [batchOf(rowsOf(model))], step, learningRate);
    },
    trained: () => valuesOf(trainableOf(attachments)),
    detach: () => {
      if (!isAttached) return;
      isAttached = false;
      for (const each of [...attachments].reverse()) each.dispose();
    },
  };
}

/** Runs a check with a bench, and disposes the bench's models and attachments when the check ends or fails. */
export async function withBench(
  { plugin, settings, options: given }: StrategySubject,
  check: (bench: StrategyBench) => Promise<void>,
): Promise<void> {
  const cleanUp: (() => void)[] = [];
  const bench: StrategyBench = {
    model: async () => {
      const model = await settings.model();
      cleanUp.push(() => model.dispose());
      return model;
    },
    create: async (options = resolveOptions(plugin.configSchema, given), seed = testContext.seed) =>
      plugin.create(options as never, { ...testContext, seed }),
    attach: async ({ model: existing, options, seed = testContext.seed } = {}) => {
      const model = existing ?? (await bench.model());
      const run: StrategyRun = { totalSteps: 10, modelFolder: null, ...settings.run, seed };
      const strategy = await bench.create(options, seed);
      const owner = strategy.role === 'companion' ? await ownerOf(model, settings, run) : null;
      try {
        const attachment = await strategy.attach(model, owner === null ? run : { ...run, owner });
        const attached = attachedStrategy(model, attachment, owner, settings.learningRate);
        cleanUp.push(() => attached.detach());
        return attached;
      } catch (error) {
        owner?.dispose();
        throw error;
      }
    },
  };
  try {
    await check(bench);
  } finally {
    for (const step of cleanUp.reverse()) step();
  }
}

/** Copies of the states and of the trained values of all attachments. */
type SavedAttachments = readonly { readonly trainable: ReadonlyMap<string, Tensor>; readonly state: SavedState }[];

/** Copies the states and the trained values of all attachments, also of parameters that are trained later. */
export const save = ({ attachments }: AttachedStrategy): SavedAttachments =>
  attachments.map((attachment) => {
    const state = copyState(attachment.saveState());
    const trainPresent = attachment.trainAll?.();
    const trainable = new Map([...attachment.trainable].map(([key, value]) => [key, clone(value)] as const));
    trainPresent?.();
    return { trainable, state };
  });

/** Restores what {@link save} copied, as a run that resumes or is rolled back does; disposes the copies. */
export function restore({ attachments }: AttachedStrategy, saved: SavedAttachments): void {
  for (const [index, attachment] of attachments.entries()) {
    const of = saved[index];
    if (of === undefined) throw new Error('Fewer states were saved than attachments are to be restored.');
    attachment.loadState(of.state);
    const trainRestored = attachment.trainAll?.();
    for (const [key, value] of of.trainable) attachment.trainable.get(key)?.assign(value as Variable);
    trainRestored?.();
    dispose([...of.trainable.values(), ...of.state.tensors.values()]);
  }
}
