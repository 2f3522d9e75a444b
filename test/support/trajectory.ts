import { singleProcess } from '@whetstone/core/distributed';
import { trainStep, type StepOutcome } from '@whetstone/core/training';
import { createHookRunner } from '@whetstone/core/hooks';
import { createAdamW } from '@whetstone/core/optimizers';
import type { Attachment, Batch, Callback, LanguageModel, Schedule, Strategy } from '@whetstone/core/contract';
import { globalNorm } from '@whetstone/core/ops';
import { createGradientClipping } from '../../packages/plugins/src/gradient-clipping/gradient-clipping.js';
import { batchOf, type FixtureBatch } from './batch.js';

export interface Hyper {
  readonly learningRate: number;
  readonly weightDecay: number;
  /** Null: gradients are not clipped. */
  readonly maxNorm: number | null;
  readonly schedule: Schedule;
}

/** Steps over windows of microbatches through the real train-step, model, strategy, optimizer and clipping. */
export async function runSteps(
  model: LanguageModel,
  attachment: Attachment,
  windows: readonly (readonly Batch[])[],
  hyper: Hyper,
): Promise<StepOutcome[]> {
  const reportNorm: Callback = {
    transformGradients: (gradients, { record }) => {
      record('gradNorm', globalNorm(gradients.values()));
      return gradients;
    },
  };
  const callback = hyper.maxNorm === null ? reportNorm : createGradientClipping({ maxNorm: hyper.maxNorm });
  const hooks = createHookRunner([{ plugin: 'norm', callback }]);
  const optimizer = createAdamW({
    weightDecay: hyper.weightDecay,
    adamBeta1: 0.9,
    adamBeta2: 0.999,
    adamEpsilon: 1e-8,
  });
  const outcomes: StepOutcome[] = [];
  for (const [step, window] of windows.entries()) {
    const parts = {
      model,
      owner: attachment,
      companions: [],
      sync: singleProcess,
      hooks,
      optimizer,
      backend: { barrier: () => undefined },
    };
    outcomes.push(await trainStep(parts, window, step, hyper.learningRate * hyper.schedule(step)));
  }
  optimizer.dispose();
  hooks.dispose();
  return outcomes;
}

/** Fixtures' microbatches in windows of `size`, one an optimizer step. */
export const windowsOf = (microbatches: readonly FixtureBatch[], size: number): Batch[][] =>
  Array.from({ length: Math.ceil(microbatches.length / size) }, (_, step) =>
    microbatches.slice(step * size, (step + 1) * size).map(batchOf),
  );

export const attach = async (strategy: Strategy, model: LanguageModel, totalSteps: number): Promise<Attachment> =>
  strategy.attach(model, { seed: 0, totalSteps, modelFolder: model.folder });
