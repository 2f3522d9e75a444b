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
import { singleWorker } from '../distributed/single-worker.js';
import type { Workers } from '../contract/workers.js';
import type { HookRunner } from '../hooks/types.js';
import { crossEntropy } from '../ops/cross-entropy.js';
import { finiteProbe } from '../ops/optimizer.js';
import { weightDecayApplies } from '../optimizers/decays.js';
import { accumulate, disposeAll, gradientsOf } from './gradients.js';
import { summedCrossEntropy, weightedSum } from './microbatch-loss.js';
import { deviceParallelGradients, releaseDevices } from './device-parallel.js';
import { createStepMetrics } from './step-metrics.js';
import { microbatchOf, totalWeight, type Microbatch } from './supervised-positions.js';
import {
  reduceStepResult,
  reduceMetrics,
  allReduceGradients,
  shardStep,
  type ReducedStep,
} from '../distributed/step-sync.js';

/** The components that a step uses; the same for all steps of a run. */
export interface StepServices {
  readonly model: LanguageModel;
  /** The strategy that chooses the trained parameters. They may change from step to step. */
  readonly owner: Attachment;
  readonly companions: readonly Attachment[];
  readonly hooks: HookRunner;
  readonly optimizer: Optimizer;
  readonly backend: Pick<TensorBackendInfo, 'barrier' | 'replicas' | 'sideBySide'>;
  /** The workers that compute the step together, each a shard of it. By default, a single one. */
  readonly workers?: Workers;
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
 * @throws `HOOK_FAILED`
 * @throws `NON_FINITE` if the loss or a gradient is not finite, unless a callback skips these steps
 */
export async function trainStep(
  services: StepServices,
  batches: readonly Batch[],
  step: number,
  learningRate: number,
): Promise<StepOutcome> {
  const { model, owner, hooks, backend, workers = singleWorker } = services;
  const attachments = [owner, ...services.companions];
  const metrics = createStepMetrics();
  const context: StepContext = { step, record: metrics.record };
  let gradients = new Map<string, Tensor>();
  const losses: Scalar[] = [];
  model.training = true;
  try {
    for (const attachment of attachments) attachment.beforeStep?.(context);
    const { trainable } = owner;
    const trained = new Set<Tensor>(trainable.values());
    const updated = owner.masters ?? trainable;

    // 1. The total weight of the step's targets is the divisor of all microbatches. Workers share the microbatches.
    const prepared = batches.map((batch) => microbatchOf(hooks.transformBatch(batch, context)));
    const supervisedTokens = total(prepared, ({ targets }) => targets.length);
    if (supervisedTokens === 0) throw nothingToLearn(prepared);
    const divisor = total(prepared, totalWeight);
    const learnable = prepared.filter(({ targets }) => targets.length > 0);
    const shard = await shardStep(
      workers,
      step,
      learnable.map(({ batch }) => batch),
    );
    const microbatches = workers.count === 1 ? learnable : shard.batches.map(microbatchOf);

    if (services.optimizer.prepare?.(updated) === true) backend.barrier();

    // 2. The gradients of all microbatches, summed by name. The all-reduce overlaps the last backward pass.
    const { replicas } = backend;
    const sideBySide = backend.sideBySide?.bind(backend);
    // A hook that reads logits needs the complete microbatch, so that it is not split.
    const devices = {
      barrier: () => backend.barrier(),
      ...(replicas === undefined ? {} : { replicas }),
      ...(sideBySide === undefined || wantsLogits(hooks) ? {} : { sideBySide }),
    };
    gradients = deviceParallelGradients(microbatches, microbatchOf, devices, (split) =>
      gradientsOf(trainable, () => {
        const { lossSum, added } = microbatchLoss(services, split, trained, context);
        const loss = keep(mul(lossSum, scalar(1 / divisor)) as Scalar);
        losses.push(loss);
        // An added term is a mean over its microbatch, so that it has the microbatch's weight.
        return added === undefined
          ? loss.clone()
          : (add(loss, mul(added, scalar(total(split, totalWeight) / divisor))) as Scalar);
      }),
    );
    await allReduceGradients(workers, gradients, trainable, shard, context);
    backend.barrier();

    // 3. The penalties of strategies, once per step.
    const penalizing = attachments.filter(({ penalty }) => penalty !== undefined);
    if (penalizing.length > 0) {
      accumulate(
        gradients,
        gradientsOf(
          trainable,
          () => addN(penalizing.flatMap((attachment) => attachment.penalty?.(context) ?? [])) as Scalar,
        ),
      );
      backend.barrier();
    }

    if (gradients.size === 0)
      throw new WhetstoneError('STRATEGY_TARGETS_NOTHING', 'The loss does not depend on any trained parameter.');

    // 4. Callbacks may replace gradients. Clipping is `post` and runs last.
    transformGradients(hooks, gradients, trainable, context);
    const requestedSkip = hooks.requests.takeSkipUpdate();

    // 5. If a value is not finite, the step fails, or is skipped if a callback requested that.
    const probe = tidy(() => finiteProbe(gradients.values()));
    // The metrics recorded so far are read with it, because a later read would wait for the update.
    const reading = metrics.readWith([probe, ...losses]);
    losses.push(probe);
    const [probed = NaN, ...lossParts] = await reading;
    const reduced = await reduceStepResult(workers, step, {
      loss: total(lossParts, (lossPart) => lossPart),
      probe: probed,
      skipReason: requestedSkip,
      skipsNonFinite: hooks.skipsNonFinite,
    });
    const { loss } = reduced;
    const nonFinite = nonFiniteOf(reduced);
    const skipReason = reduced.skipReason ?? (nonFinite === null ? null : skipNonFinite(reduced, nonFinite, step));

    // 6. The update.
    if (skipReason === null) {
      backend.barrier();
      services.optimizer.apply(updated, gradients, {
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
      loss,
      learningRate,
      microbatches: batches.length,
      samples: total(prepared, ({ batch }) => batch.samples),
      tokens: total(prepared, ({ batch }) => batch.tokens),
      supervisedTokens,
      updated: skipReason === null,
      ...(skipReason === null ? {} : { skipReason }),
      ...(nonFinite === null ? {} : { nonFinite }),
      metrics: await reduceMetrics(workers, step, await metrics.read()),
    };
  } finally {
    model.training = false;
    releaseDevices(backend);
    metrics.dispose();
    disposeAll(losses);
    disposeAll(gradients.values());
  }
}

const wantsLogits = (hooks: HookRunner): boolean => hooks.has('transformLogits') || hooks.has('addLoss');

/**
 * Returns the summed cross-entropy of a microbatch, or of its two halves, and the mean terms that callbacks add.
 * Complete logits are computed only if a hook needs them, for a microbatch that is not split.
 */
function microbatchLoss(
  { model, hooks }: StepServices,
  split: readonly Microbatch[],
  trained: ReadonlySet<Tensor>,
  step: StepContext,
): { lossSum: Scalar; added: Scalar | undefined } {
  const [microbatch] = split;
  if (microbatch === undefined || !wantsLogits(hooks))
    return { lossSum: summedCrossEntropy(model, split, { trained }), added: undefined };
  const { batch, positions, targets, weights } = microbatch;
  const context: MicrobatchContext = { ...step, ...microbatch };
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
    const replaced = hooks.transformGradients(gradients, { ...context, parameters });
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
