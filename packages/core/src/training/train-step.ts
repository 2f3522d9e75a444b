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
import { finiteProbe } from '../ops/global-norm.js';
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

/** What a step works on; the same for all steps of a run. */
export interface StepServices {
  readonly model: LanguageModel;
  /** The strategy that says what is trained; what that is may change from step to step. */
  readonly owner: Attachment;
  readonly companions: readonly Attachment[];
  readonly hooks: HookRunner;
  readonly optimizer: Optimizer;
  readonly backend: Pick<TensorBackendInfo, 'barrier' | 'replicas' | 'sideBySide'>;
  /** Those that make the step together, each a part of it; one by default. */
  readonly workers?: Workers;
}

/** What one step reports; the loop adds what only it knows. */
export type StepOutcome = Omit<StepReport, 'totalSteps' | 'epoch' | 'seconds'>;

/**
 * One optimizer step over its microbatches, top to bottom.
 *
 * The loss is the mean over all target tokens of the step, so that 1×8, 2×4 and 4×2 microbatches, padded or packed,
 * give the same gradients. Nothing is read from the device while the gradients are made: graphs of the same structure
 * replay. The one wait is for the loss and for whether all is finite, before the update; it does not block the event
 * loop.
 *
 * @param step optimizer steps done before this one.
 * @throws `DATA_NOTHING_TO_LEARN`, `HOOK_FAILED`, and `NON_FINITE` unless a callback skips such steps. All leave the
 *   parameters unchanged.
 */
export async function trainStep(
  parts: StepServices,
  batches: readonly Batch[],
  step: number,
  learningRate: number,
): Promise<StepOutcome> {
  const { model, owner, hooks, backend, workers = singleWorker } = parts;
  const attachments = [owner, ...parts.companions];
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

    // 1. The target tokens of all microbatches together, by their weights, are the divisor of every one. Several
    // workers deal the step out among them.
    const whole = batches.map((batch) => microbatchOf(hooks.transformBatch(batch, context)));
    const supervisedTokens = total(whole, ({ targets }) => targets.length);
    if (supervisedTokens === 0) throw nothingToLearn(whole);
    const divisor = total(whole, totalWeight);
    const learnable = whole.filter(({ targets }) => targets.length > 0);
    const part = await shardStep(
      workers,
      step,
      learnable.map(({ batch }) => batch),
    );
    const microbatches = workers.count === 1 ? learnable : part.batches.map(microbatchOf);

    if (parts.optimizer.prepare?.(updated) === true) backend.barrier();

    // 2. Gradients of each microbatch, added up by name; those of all workers while the last microbatch's backward pass
    // goes on.
    const { replicas } = backend;
    const sideBySide = backend.sideBySide?.bind(backend);
    // A hook that looks at logits sees a microbatch as a whole.
    const devices = {
      barrier: () => backend.barrier(),
      ...(replicas === undefined ? {} : { replicas }),
      ...(sideBySide === undefined || wantsLogits(hooks) ? {} : { sideBySide }),
    };
    gradients = deviceParallelGradients(microbatches, microbatchOf, devices, (beside) =>
      gradientsOf(trainable, () => {
        const { lossSum, added } = microbatchLoss(parts, beside, trained, context);
        const loss = keep(mul(lossSum, scalar(1 / divisor)) as Scalar);
        losses.push(loss);
        // An added term is a mean over its microbatch, and weighs what the microbatch weighs.
        return added === undefined
          ? loss.clone()
          : (add(loss, mul(added, scalar(total(beside, totalWeight) / divisor))) as Scalar);
      }),
    );
    await allReduceGradients(workers, gradients, trainable, part, context);
    backend.barrier();

    // 3. Penalties of strategies, once a step.
    const penalising = attachments.filter(({ penalty }) => penalty !== undefined);
    if (penalising.length > 0) {
      accumulate(
        gradients,
        gradientsOf(
          trainable,
          () => addN(penalising.flatMap((attachment) => attachment.penalty?.(context) ?? [])) as Scalar,
        ),
      );
      backend.barrier();
    }

    if (gradients.size === 0)
      throw new WhetstoneError('STRATEGY_TARGETS_NOTHING', 'The loss depends on none of the trained parameters.');

    // 4. Callbacks may replace gradients; clipping is `post` and comes last.
    transformGradients(hooks, gradients, trainable, context);
    const askedToSkip = hooks.requests.takeSkipUpdate();

    // 5. No update unless everything is finite: the step fails, or is skipped if a callback asked for that.
    const probe = tidy(() => finiteProbe(gradients.values()));
    // What was recorded until now comes along: who reads it after the update waits for the update.
    const reading = metrics.readBeside([probe, ...losses]);
    losses.push(probe);
    const [probed = NaN, ...lossParts] = await reading;
    const agreed = await reduceStepResult(workers, step, {
      loss: total(lossParts, (lossPart) => lossPart),
      probe: probed,
      skipReason: askedToSkip,
      skipsNonFinite: hooks.skipsNonFinite,
    });
    const { loss } = agreed;
    const nonFinite = nonFiniteOf(agreed);
    const skipReason = agreed.skipReason ?? (nonFinite === null ? null : skipNonFinite(agreed, nonFinite, step));

    // 6. The update.
    if (skipReason === null) {
      backend.barrier();
      parts.optimizer.apply(updated, gradients, {
        update: step + 1,
        learningRate,
        learningRateScale: (name) => owner.learningRateScale?.(name) ?? 1,
        decays: weightDecayApplies,
      });
      owner.afterUpdate?.();
      // Before the barrier, so that the update may free each gradient as soon as it is used.
      disposeAll(gradients.values());
      gradients.clear();
      backend.barrier();
    }

    // 7. Plain numbers go out; everything else is disposed.
    return {
      step: step + 1,
      loss,
      learningRate,
      microbatches: batches.length,
      samples: total(whole, ({ batch }) => batch.samples),
      tokens: total(whole, ({ batch }) => batch.tokens),
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
 * Summed cross-entropy of a microbatch, or of the parts of one, and what callbacks add to its mean. The whole logits
 * are made only where a hook wants them: of a whole microbatch.
 */
function microbatchLoss(
  { model, hooks }: StepServices,
  beside: readonly Microbatch[],
  trained: ReadonlySet<Tensor>,
  step: StepContext,
): { lossSum: Scalar; added: Scalar | undefined } {
  const [microbatch] = beside;
  if (microbatch === undefined || !wantsLogits(hooks))
    return { lossSum: summedCrossEntropy(model, beside, { trained }), added: undefined };
  const { batch, positions, targets, weights } = microbatch;
  const context: MicrobatchContext = { ...step, ...microbatch };
  const logits = hooks.transformLogits(model.logits(batch, positions), context);
  return { lossSum: weightedSum(crossEntropy(logits, targets), weights), added: hooks.addLoss(logits, context) };
}

/** Runs the hooks and leaves their result in `gradients`, disposing what was replaced. */
function transformGradients(
  hooks: HookRunner,
  gradients: Map<string, Tensor>,
  parameters: Gradients,
  context: StepContext,
): void {
  if (!hooks.has('transformGradients')) return;
  const before = [...gradients.values()];
  let names: readonly string[] = [];
  // A tidy finds tensors in lists, but not in maps.
  const after = tidy(() => {
    const replaced = hooks.transformGradients(gradients, { ...context, parameters });
    names = [...replaced.keys()];
    return [...replaced.values()];
  });
  gradients.clear();
  for (const [index, name] of names.entries()) gradients.set(name, after[index] as Tensor);
  disposeAll(before.filter((gradient) => !after.includes(gradient)));
}

/** A microbatch alone may be without targets; a whole step may not. */
function nothingToLearn(microbatches: readonly Microbatch[]): WhetstoneError {
  const origins = microbatches.flatMap(({ batch }) => batch.origins ?? []);
  const [tokens, samples] = [
    total(microbatches, ({ batch }) => batch.tokens),
    total(microbatches, ({ batch }) => batch.samples),
  ];
  return new WhetstoneError(
    'DATA_NOTHING_TO_LEARN',
    `None of the ${tokens} tokens of a step of ${samples} conversations is learned from.`,
    {
      problems: origins.map((origin) => ({
        message: `Conversation ${origin.index + 1} has no supervised token.`,
        place: {
          ...(origin.file === undefined ? {} : { file: origin.file }),
          ...(origin.line === undefined ? {} : { line: origin.line }),
        },
      })),
      expected: 'at least one assistant token within the maximum length',
      hint:
        'Raise data.maxLength, let data.truncationMode keep the end, or check that the conversations hold turns ' +
        'of the assistant.',
    },
  );
}

/** What of a step is not finite: the loss, or else a gradient; null if both are. */
function nonFiniteOf({ loss, probe }: ReducedStep): 'loss' | 'gradient' | null {
  if (!Number.isFinite(loss)) return 'loss';
  return Number.isFinite(probe) ? null : 'gradient';
}

/**
 * The reason to skip a step that is not finite.
 *
 * @throws `NON_FINITE` if no callback asked to skip such steps
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
        'Lower the learning rate or clip gradients. To skip such steps, add the callback nan-guard with the option ' +
        '"action": "skip".',
    },
  );
}

const total = <T>(items: readonly T[], of: (item: T) => number): number =>
  items.reduce((result, item) => result + of(item), 0);
