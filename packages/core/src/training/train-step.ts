import { add, keep, mul, scalar, tidy, addN, type Scalar, type Tensor } from '@tensorflow/tfjs-core';
import type {
  Attachment,
  Batch,
  Gradients,
  LanguageModel,
  MicrobatchContext,
  Optimizer,
  StepContext,
  StepReport,
  TensorBackendInfo,
} from '../contract/index.js';
import { WhetstoneError } from '../contract/errors.js';
import type { HookRunner } from '../hooks/types.js';
import { crossEntropy } from '../ops/cross-entropy.js';
import { finiteProbe } from '../ops/optimizer.js';
import { weightDecayApplies } from '../optimizers/decays.js';
import { checkTokens } from './check-tokens.js';
import { accumulate, disposeAll, gradientsOf } from './gradients.js';
import { summedCrossEntropy, weightedSum } from './cross-entropy-sum.js';
import { gradientAccumulator, type GradientAccumulator } from './device-parallel.js';
import type { LossTerms } from './loss-terms.js';
import { createStepMetrics, type StepMetrics } from './step-metrics.js';
import { microbatchOf, totalWeight, type Microbatch } from './supervised-positions.js';
import type { ReducedStep, StepSync } from '../distributed/step-sync.js';

/** The components that a step uses; the same for all steps of a run. */
export interface StepServices {
  readonly model: LanguageModel;
  /** The strategy that chooses the trained parameters. They may change from step to step. */
  readonly owner: Attachment;
  readonly companions: readonly Attachment[];
  readonly hooks: HookRunner;
  readonly optimizer: Optimizer;
  readonly backend: Pick<TensorBackendInfo, 'barrier' | 'replicas' | 'sideBySide'>;
  /** Distributes the step over the workers that compute it together. */
  readonly sync: StepSync;
  /** Checks the terms that are added to the loss; absent if nothing is reported. */
  readonly terms?: Pick<LossTerms, 'ofStrategy'>;
}

/** The report of one step, without the fields that the loop adds. */
export type StepOutcome = Omit<StepReport, 'totalSteps' | 'epoch' | 'seconds'>;

/**
 * Executes one optimizer step over its microbatches.
 *
 * The loss is the mean over all target tokens of the step, so that 1×8, 2×4 and 4×2 microbatches, padded or packed,
 * give the same gradients. Nothing is read from the device while gradients are computed, so that graphs of the same
 * structure are reused. The step waits once, before the update, for the loss and the check that all values are finite.
 * This wait does not block the event loop.
 *
 * Errors leave the parameters unchanged.
 *
 * @param step number of optimizer steps before this one
 * @throws `DATA_NOTHING_TO_LEARN` if no token of the step is a target
 * @throws `TOKENIZER_INVALID` if a token or label is outside of the model's vocabulary
 * @throws `HOOK_FAILED`
 * @throws `NON_FINITE` if the loss or a gradient is not finite, unless a callback skips these steps
 */
export async function trainStep(
  services: StepServices,
  batches: readonly Batch[],
  step: number,
  learningRate: number,
): Promise<StepOutcome> {
  const { model, owner, hooks, optimizer, backend, sync } = services;
  const attachments = [owner, ...services.companions];
  const metrics = createStepMetrics();
  const context: StepContext = Object.freeze({ step, record: metrics.record });
  // A hook that reads logits needs the complete microbatch, so that it is not split.
  const accumulator = gradientAccumulator(backend, !wantsLogits(hooks));
  let gradients = new Map<string, Tensor>();
  const losses: Scalar[] = [];
  model.training = true;
  try {
    for (const attachment of attachments) attachment.beforeStep?.(context);
    const updated = owner.masters ?? owner.trainable;

    // 1. The total weight of the step's targets is the divisor of all microbatches. Workers share the microbatches.
    const prepared = batches.map((batch) => prepareBatch(services, batch, context));
    const targets = countTargets(prepared);
    const learnable = prepared.filter((microbatch) => microbatch.targets.length > 0);
    const shard = await sync.shardStep(step, learnable, microbatchOf);
    if (optimizer.prepare?.(updated) === true) backend.barrier();

    // 2. The gradients of all microbatches, summed by name. The all-reduce overlaps the last backward pass.
    gradients = sumGradients(services, accumulator, shard.microbatches, targets.weight, losses, context);
    await sync.allReduceGradients(gradients, owner.trainable, shard, context);
    backend.barrier();

    // 3. The penalties of strategies, once per step.
    addPenalties(services, gradients, context);
    if (gradients.size === 0)
      throw new WhetstoneError('STRATEGY_TARGETS_NOTHING', 'The loss does not depend on any trained parameter.');

    // 4. Callbacks may replace gradients. Clipping is `post` and runs last.
    transformGradients(hooks, gradients, owner.trainable, context);

    // 5. If a value is not finite, the step fails, or is skipped if a callback requested that.
    const reduced = await sync.reduceStepResult(step, await readResult(hooks, gradients, losses, metrics));
    const nonFinite = nonFiniteOf(reduced);
    const skipReason = reduced.skipReason ?? (nonFinite === null ? null : skipNonFinite(reduced, nonFinite, step));

    // 6. The update.
    if (skipReason === null) {
      backend.barrier();
      optimizer.apply(updated, gradients, {
        update: step + 1,
        learningRate,
        learningRateScale: (name) => owner.learningRateScale?.(name) ?? 1,
        decays: weightDecayApplies,
      });
      owner.afterUpdate?.();
      // Before the barrier, so that each gradient can be freed as soon as it is used.
      disposeAll(gradients.values());
      gradients.clear();
      backend.barrier();
    }

    // 7. The report contains plain numbers; all tensors are disposed.
    return {
      step: step + 1,
      loss: reduced.loss,
      learningRate,
      microbatches: batches.length,
      samples: total(prepared, ({ batch }) => batch.samples),
      tokens: total(prepared, ({ batch }) => batch.tokens),
      supervisedTokens: targets.tokens,
      updated: skipReason === null,
      ...(skipReason === null ? {} : { skipReason }),
      ...(nonFinite === null ? {} : { nonFinite }),
      metrics: await sync.reduceMetrics(step, await metrics.read()),
    };
  } finally {
    model.training = false;
    accumulator.release();
    metrics.dispose();
    disposeAll(losses);
    disposeAll(gradients.values());
  }
}

/** Returns a copy of a batch with arrays of its own, so that a hook that changes them changes nothing else. */
const copyOf = (batch: Batch): Batch => ({
  ...batch,
  ids: batch.ids.slice(),
  labels: batch.labels.slice(),
  segmentIds: batch.segmentIds.slice(),
  positionIds: batch.positionIds.slice(),
  ...(batch.weights === undefined ? {} : { weights: batch.weights.slice() }),
});

/** Returns the microbatch of a batch, after the hooks. */
function prepareBatch({ hooks, model }: StepServices, batch: Batch, context: StepContext): Microbatch {
  const transformed = hooks.has('transformBatch') ? hooks.transformBatch(copyOf(batch), context) : batch;
  checkTokens(transformed, model);
  return microbatchOf(transformed);
}

/**
 * Returns the number of targets of a step, and their total weight.
 *
 * @throws `DATA_NOTHING_TO_LEARN` without targets
 */
function countTargets(microbatches: readonly Microbatch[]): { readonly tokens: number; readonly weight: number } {
  const tokens = total(microbatches, ({ targets }) => targets.length);
  if (tokens === 0) throw nothingToLearn(microbatches);
  return { tokens, weight: total(microbatches, totalWeight) };
}

/**
 * Returns the gradients of the microbatches, summed by name, and adds the losses to `losses`. Both are divided by
 * `divisor`, the total weight of the step's targets.
 */
function sumGradients(
  services: StepServices,
  accumulator: GradientAccumulator,
  microbatches: readonly Microbatch[],
  divisor: number,
  losses: Scalar[],
  context: StepContext,
): Map<string, Tensor> {
  const { trainable } = services.owner;
  const trained = new Set<Tensor>(trainable.values());
  return accumulator.sum(microbatches, microbatchOf, (split) =>
    gradientsOf(trainable, () => {
      const { lossSum, added } = forwardLoss(services, split, trained, context);
      const loss = keep(mul(lossSum, scalar(1 / divisor)) as Scalar);
      losses.push(loss);
      // An added term is a mean over its microbatch, so that it has the microbatch's weight.
      return added === undefined
        ? loss.clone()
        : (add(loss, mul(added, scalar(total(split, totalWeight) / divisor))) as Scalar);
    }),
  );
}

/** Adds the gradients of the strategies' penalties. */
function addPenalties(
  { owner, companions, backend, terms }: StepServices,
  gradients: Map<string, Tensor>,
  context: StepContext,
): void {
  const penalizing = [owner, ...companions].filter(({ penalty }) => penalty !== undefined);
  if (penalizing.length === 0) return;
  const penaltyOf = (attachment: Attachment): readonly Scalar[] => {
    const term = attachment.penalty?.(context);
    if (term === undefined) return [];
    terms?.ofStrategy(attachment, term);
    return [term];
  };
  const penalty = (): Scalar => addN(penalizing.flatMap(penaltyOf)) as Scalar;
  accumulate(gradients, gradientsOf(owner.trainable, penalty));
  backend.barrier();
}

/**
 * Reads the loss and the finite check: the only read of the device before the update. The metrics recorded so far are
 * read with them, because a later read would wait for the update.
 */
async function readResult(
  hooks: HookRunner,
  gradients: ReadonlyMap<string, Tensor>,
  losses: Scalar[],
  metrics: StepMetrics,
): Promise<ReducedStep> {
  const skipReason = hooks.requests.takeSkipUpdate();
  const probe = tidy(() => finiteProbe(gradients.values()));
  const reading = metrics.readWith([probe, ...losses]);
  losses.push(probe);
  const [probed = NaN, ...parts] = await reading;
  return { loss: total(parts, (part) => part), probe: probed, skipReason, skipsNonFinite: hooks.skipsNonFinite };
}

export const wantsLogits = (hooks: HookRunner): boolean => hooks.has('transformLogits') || hooks.has('addLoss');

/**
 * Returns the summed cross-entropy of a microbatch, or of its two halves, and the mean terms that callbacks add.
 * Complete logits are computed only if a hook needs them, for a microbatch that is not split.
 */
function forwardLoss(
  { model, hooks }: StepServices,
  split: readonly Microbatch[],
  trained: ReadonlySet<Tensor>,
  step: StepContext,
): { lossSum: Scalar; added: Scalar | undefined } {
  const [microbatch] = split;
  if (microbatch === undefined || !wantsLogits(hooks))
    return { lossSum: summedCrossEntropy(model, split, { trained }), added: undefined };
  const { batch, positions, targets, weights } = microbatch;
  const context: MicrobatchContext = Object.freeze({
    ...step,
    batch: copyOf(batch),
    positions: positions.slice(),
    targets: targets.slice(),
    ...(weights === undefined ? {} : { weights: weights.slice() }),
  });
  const logits = hooks.transformLogits(model.logits(batch, positions), context);
  return { lossSum: weightedSum(crossEntropy(logits, targets), weights), added: hooks.addLoss(logits, context) };
}

/** Runs the hooks, stores their results in `gradients`, and disposes replaced gradients. */
function transformGradients(
  hooks: HookRunner,
  gradients: Map<string, Tensor>,
  parameters: Gradients,
  context: StepContext,
): void {
  if (!hooks.has('transformGradients')) return;
  const before = [...gradients.values()];
  let names: readonly string[] = [];
  // tidy finds tensors in arrays, but not in maps.
  const after = tidy(() => {
    const replaced = hooks.transformGradients(
      gradients,
      Object.freeze({ ...context, parameters: new Map(parameters) }),
    );
    names = [...replaced.keys()];
    return [...replaced.values()];
  });
  gradients.clear();
  for (const [index, name] of names.entries()) gradients.set(name, after[index] as Tensor);
  disposeAll(before.filter((gradient) => !after.includes(gradient)));
}

/** Returns the error of a step without targets. A single microbatch may be without targets. */
function nothingToLearn(microbatches: readonly Microbatch[]): WhetstoneError {
  const origins = microbatches.flatMap(({ batch }) => batch.origins ?? []);
  const [tokens, samples] = [
    total(microbatches, ({ batch }) => batch.tokens),
    total(microbatches, ({ batch }) => batch.samples),
  ];
  return new WhetstoneError(
    'DATA_NOTHING_TO_LEARN',
    `None of the ${tokens} tokens of a step of ${samples} conversations is a target.`,
    {
      problems: origins.map((origin) => ({
        message: `Conversation ${origin.index + 1} has no supervised token.`,
        place: {
          file: origin.file,
          line: origin.line,
        },
      })),
      expected: 'at least one assistant token within the maximum length',
      hint:
        'Raise data.maxLength, set data.truncationMode to keep the end, or check that the conversations contain ' +
        'turns of the assistant.',
    },
  );
}

/** Returns whether the loss or, if it is finite, a gradient is not finite; null if all values are finite. */
function nonFiniteOf({ loss, probe }: ReducedStep): 'loss' | 'gradient' | null {
  if (!Number.isFinite(loss)) return 'loss';
  return Number.isFinite(probe) ? null : 'gradient';
}

/**
 * Returns the reason to skip a step that is not finite.
 *
 * @throws `NON_FINITE` if no callback requested to skip these steps
 */
function skipNonFinite({ loss, skipsNonFinite }: ReducedStep, culprit: 'loss' | 'gradient', step: number): string {
  if (skipsNonFinite) return culprit === 'loss' ? `the loss is ${loss}` : 'a gradient is not a finite number';
  throw new WhetstoneError(
    'NON_FINITE',
    `${culprit === 'loss' ? 'The loss' : 'A gradient'} of step ${step + 1} is not a finite number. No update was made.`,
    {
      details: { step: step + 1, loss },
      found: `loss ${loss}`,
      hint:
        'Lower the learning rate or clip gradients. To skip these steps, add the callback nan-guard with the option ' +
        '"action": "skip".',
    },
  );
}

const total = <T>(items: readonly T[], of: (item: T) => number): number =>
  items.reduce((result, item) => result + of(item), 0);
