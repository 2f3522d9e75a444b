import {
  assignFromHost,
  checkpointFolder,
  copyToHost,
  readBest,
  type CheckpointSources,
  type HostTensors,
  type RunState,
} from '../checkpoint/index.js';
import { isWhetstoneError, WhetstoneError } from '../contract/errors.js';
import type { Attachment } from '../contract/strategy.js';
import { exists } from '../files/index.js';
import { naming } from '../memory/index.js';
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

/** What the checkpoints of a run depend on, apart from its state. */
interface CheckpointContext {
  readonly plan: StepPlan;
  readonly totalParameters: number;
  readonly evaluationWeights: EvaluationWeights;
  /** Called when a checkpoint is written, by this worker or another, or the best weights are stored. */
  onStored(): void;
}

export function createRunCheckpoints(
  run: TrainRun,
  sources: CheckpointSources,
  progress: RunProgress,
  context: CheckpointContext,
): RunCheckpoints {
  return new Checkpoints(run, sources, progress, context);
}

const withRequests = (state: RunState, { requests }: TrainRun['hooks']): RunState => ({
  ...state,
  owed: { ...state.owed, requests: requests.pending() },
});

/** Restores the best weights. @throws `CHECKPOINT_INVALID` with a way out if they are damaged */
async function readVerified(folder: string, run: TrainRun, owner: Attachment): Promise<void> {
  try {
    await readBest(folder, run.loaded.model, owner);
  } catch (error) {
    if (!isWhetstoneError(error) || error.code !== 'CHECKPOINT_INVALID') throw error;
    throw WhetstoneError.with(error, {
      message: `The best weights cannot be restored: ${error.message}`,
      hint:
        `Restore ${folder} from a backup and resume. Without it, remove the folder and resume: the run then ends ` +
        'with its last weights.',
    });
  }
}

type Facts = Parameters<TrainRun['checkpoints']['save']>[3];

class Checkpoints implements RunCheckpoints {
  /** The best weights of a run without an output folder. */
  private bestOnHost: HostTensors = new Map();
  /** The state of the latest checkpoint, and the requests in it as JSON. */
  private saved: { readonly state: RunState; readonly requests: string } | null = null;

  constructor(
    private readonly run: TrainRun,
    private readonly sources: CheckpointSources,
    private readonly progress: RunProgress,
    private readonly context: CheckpointContext,
  ) {}

  async save(): Promise<string | null> {
    const { run, progress } = this;
    // This checkpoint is the one that is owed, unless it is written before the evaluation that comes first.
    if (!progress.state.owed.evaluate) progress.owe({ save: false });
    const { state } = progress;
    const { checkpoints, hooks, outputFolder } = run;
    // Also on workers that write nothing: a rollback returns all of them to the same step.
    if (run.config.output.folder !== null) this.context.onStored();
    if (outputFolder === null) return null;
    if (this.isSaved(state)) return checkpointFolder(outputFolder, state.step);
    const folder = await this.write(outputFolder, state);
    await checkpoints.prune(
      outputFolder,
      run.config.training.saveTotalLimit,
      new Set([state.step, ...(state.best === null ? [] : [state.best.step])]),
    );
    await hooks.onSave({ step: state.step, folder });
    // A request that a callback makes in onSave, such as a stop, must not be lost.
    if (!this.isSaved(state)) await this.write(outputFolder, state);
    return folder;
  }

  async storeBest(metric: number, loss: number | null): Promise<void> {
    const { progress, owner } = this;
    const { evaluationWeights, onStored } = this.context;
    progress.change({ best: { step: progress.state.step, metric, loss } });
    // Only the worker that writes the result needs the weights.
    if ((await this.save()) === null && this.run.workers.rank === 0)
      this.bestOnHost = await evaluationWeights.during(() => copyToHost(owner.trainable));
    onStored();
  }

  async storeMarked(): Promise<void> {
    if (!this.run.hooks.requests.takeMarkBest()) return;
    const { lastLoss, state } = this.progress;
    const { step, lastEvaluation } = state;
    const evaluated = lastEvaluation?.step === step ? lastEvaluation.loss : null;
    await this.storeBest(evaluated ?? lastLoss, evaluated);
  }

  async restoreBest(): Promise<boolean> {
    const { run, owner } = this;
    const { best, step } = this.progress.state;
    if (best === null || best.step === step) return false;
    const folder = this.bestFolder();
    if (folder !== null && !exists(folder)) {
      run.warn(`The checkpoint with the best weights was removed (${folder}): the last weights are used.`);
      return false;
    }
    if (folder === null) assignFromHost(owner.trainable, this.bestOnHost);
    else await readVerified(folder, run, owner);
    return true;
  }

  keep(): () => void {
    const kept = this.bestOnHost;
    return () => {
      this.bestOnHost = kept;
    };
  }

  /** Returns whether the latest checkpoint has this state and the pending requests. */
  private isSaved(state: RunState): boolean {
    return this.saved?.state === state && this.saved.requests === this.pendingRequests();
  }

  /** Returns the pending requests as JSON, without that for a checkpoint, which the checkpoint fulfils. */
  private pendingRequests(): string {
    return JSON.stringify({ ...this.run.hooks.requests.pending(), save: false });
  }

  private async write(outputFolder: string, state: RunState): Promise<string> {
    const { checkpoints, hooks } = this.run;
    const requests = this.pendingRequests();
    const folder = await naming(
      () => `Saving the checkpoint of step ${state.step}`,
      () => checkpoints.save(outputFolder, this.sources, withRequests(state, hooks), this.facts()),
    );
    this.saved = { state, requests };
    return folder;
  }

  private get owner(): Attachment {
    return this.sources.attachments[0].instance;
  }

  /** Returns the folder of the best weights; null if there are none, or the run has no output folder. */
  private bestFolder(): string | null {
    const { outputFolder } = this.run;
    const { best } = this.progress.state;
    return outputFolder === null || best === null ? null : checkpointFolder(outputFolder, best.step);
  }

  /** Returns what a checkpoint contains in addition to the state of the run. */
  private facts(): Facts {
    const { plan, totalParameters } = this.context;
    const { totalSteps, epochsDone } = this.progress;
    return {
      totalSteps,
      epochsDone,
      numTrainEpochs: plan.epochs,
      totalParameters,
      evalSteps: plan.evalSteps,
      loggingSteps: plan.loggingSteps,
      saveSteps: plan.saveSteps,
      trainBatchSize: this.run.config.training.perDeviceTrainBatchSize,
      bestFolder: this.bestFolder(),
    };
  }
}
