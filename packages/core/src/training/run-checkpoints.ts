import { existsSync } from 'node:fs';
import {
  assignFromHost,
  checkpointFolder,
  copyToHost,
  readBest,
  type CheckpointSources,
  type HostTensors,
  type RunState,
} from '../checkpoint/index.js';
import type { EvaluationWeights } from './evaluation-weights.js';
import type { RunProgress } from './progress.js';
import type { StepPlan } from './step-plan.js';
import type { TrainRun } from './train-run.js';

/** The checkpoints of a run and its best weights. */
export interface RunCheckpoints {
  /** Saves a checkpoint, unless the state is already saved. Returns its folder, or null without an output folder. */
  save(): Promise<string | null>;
  /** Stores the current weights as the best: in a checkpoint, or in host memory without an output folder. */
  storeBest(metric: number, loss: number | null): Promise<void>;
  /** Stores the current weights if a callback marked them as the best. */
  storeMarked(): Promise<void>;
  /** Restores the best weights, if any are stored and differ from the current ones. Returns whether it did. */
  restoreBest(): Promise<boolean>;
  /** Returns a function that restores which weights are the best, apart from the state of the run. */
  keep(): () => void;
}

/** @param onStored called when a checkpoint is written, by this worker or another, or the best weights are stored */
export function createRunCheckpoints(
  run: TrainRun,
  sources: CheckpointSources,
  progress: RunProgress,
  {
    plan,
    totalParameters,
    evaluationWeights,
    onStored,
  }: {
    readonly plan: StepPlan;
    readonly totalParameters: number;
    readonly evaluationWeights: EvaluationWeights;
    onStored(): void;
  },
): RunCheckpoints {
  const { checkpoints, hooks, outputFolder } = run;
  const { training } = run.config;
  const owner = sources.attachments[0].instance;
  /** The best weights of a run without an output folder. */
  let bestOnHost: HostTensors = new Map();
  let saved: RunState | null = null;

  const bestFolder = (): string | null => {
    const { best } = progress.state;
    return outputFolder === null || best === null ? null : checkpointFolder(outputFolder, best.step);
  };

  const save = async (): Promise<string | null> => {
    const { state } = progress;
    // Also on workers that write nothing: a rollback returns all of them to the same step.
    if (run.config.output.folder !== null) onStored();
    if (outputFolder === null) return null;
    if (saved === state) return checkpointFolder(outputFolder, state.step);
    const folder = await checkpoints.save(outputFolder, sources, state, {
      totalSteps: progress.totalSteps,
      epochsDone: progress.epochsDone,
      numTrainEpochs: plan.epochs,
      totalParameters,
      evalSteps: plan.evalSteps,
      loggingSteps: plan.loggingSteps,
      saveSteps: plan.saveSteps,
      trainBatchSize: training.perDeviceTrainBatchSize,
      bestFolder: bestFolder(),
    });
    saved = state;
    await checkpoints.prune(
      outputFolder,
      training.saveTotalLimit,
      new Set([state.step, ...(state.best === null ? [] : [state.best.step])]),
    );
    await hooks.onSave({ step: state.step, folder });
    return folder;
  };

  const storeBest = async (metric: number, loss: number | null): Promise<void> => {
    progress.change({ best: { step: progress.state.step, metric, loss } });
    // Only the worker that writes the result needs the weights.
    if ((await save()) === null && run.workers.rank === 0)
      bestOnHost = await evaluationWeights.during(() => copyToHost(owner.trainable));
    onStored();
  };

  return {
    save,
    storeBest,
    async storeMarked() {
      if (!hooks.requests.takeMarkBest()) return;
      const { step, lastEvaluation } = progress.state;
      const evaluated = lastEvaluation?.step === step ? lastEvaluation.loss : null;
      await storeBest(evaluated ?? progress.lastLoss, evaluated);
    },
    async restoreBest() {
      const { best, step } = progress.state;
      if (best === null || best.step === step) return false;
      const folder = bestFolder();
      if (folder !== null && !existsSync(folder)) {
        run.warn(`The checkpoint with the best weights was removed (${folder}): the last weights are used.`);
        return false;
      }
      if (folder === null) assignFromHost(owner.trainable, bestOnHost);
      else await readBest(folder, run.loaded.model, owner);
      return true;
    },
    keep() {
      const kept = bestOnHost;
      return () => {
        bestOnHost = kept;
      };
    },
  };
}
