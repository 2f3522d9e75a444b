import { createRestorePoint, withNewAttempt, type CheckpointSources } from '../checkpoint/index.js';
import { WhetstoneError } from '../contract/errors.js';
import type { StepReport } from '../contract/report.js';
import type { StepBatches } from './gradient-accumulation.js';
import type { RunProgress } from './progress.js';
import type { RunCheckpoints } from './run-checkpoints.js';
import type { TrainRun } from './train-run.js';

/** Returns a run to an earlier state when a callback requests it. Without such a callback, nothing is kept. */
export interface Rollbacks {
  /** Requests that the next step starts with a new restore point. */
  renew(): void;
  /** Called before each step. Copies the state of the run to host memory if a new restore point was requested. */
  beforeStep(batches: StepBatches): Promise<void>;
  /**
   * Restores the run if a callback requested it, and leaves out the batches of the last step. Returns whether it did.
   *
   * @throws `ROLLBACK_LIMIT` if the run was already rolled back `training.maxRollbacks` times
   * @throws `CONFIG_CONFLICT` if no step was made since the start of the run or the last rollback
   */
  performIfRequested(): Promise<boolean>;
  /** Returns what the report of the first step after a rollback says about it, and otherwise an empty object. */
  takeNotice(): Pick<StepReport, 'rollback'>;
}

export function createRollbacks(
  run: TrainRun,
  sources: CheckpointSources,
  progress: RunProgress,
  checkpoints: Pick<RunCheckpoints, 'keep'>,
): Rollbacks {
  const { hooks, outputFolder } = run;
  const { maxRollbacks } = run.config.training;
  let isDue = hooks.rollsBack;
  let point: { readonly restore: () => void; restoreProgress: () => void } | null = null;
  let last: StepBatches | null = null;
  let notice: Pick<StepReport, 'rollback'> = {};

  return {
    renew() {
      isDue = hooks.rollsBack;
    },
    async beforeStep(batches) {
      last = batches;
      if (!isDue) return;
      isDue = false;
      const { restore } = await createRestorePoint(sources);
      const restoreBest = checkpoints.keep();
      point = {
        restore: () => {
          restore();
          restoreBest();
        },
        restoreProgress: progress.keep(),
      };
    },
    async performIfRequested() {
      const reason = hooks.requests.rollbackReason;
      if (reason === null) return false;
      // Except for these two, requests concern a state that no longer exists.
      const { learningRate, stop } = hooks.requests.takeAll();
      hooks.requests.mergeStop(stop);
      const { leftOut, step } = progress.state;
      if (last === null || point === null) throw nothingToUndo(step, reason);
      if (leftOut.length >= maxRollbacks) throw tooMany(step, reason, maxRollbacks);
      const { epoch, begin, end } = last;
      point.restore();
      point.restoreProgress();
      run.backend.barrier();
      progress.change({
        leftOut: [...leftOut, { epoch, begin, end }],
        // The checkpoints from here on are not in the history of those of the steps that are undone.
        attempts: withNewAttempt(progress.state),
        ...(learningRate === null ? {} : { learningRate }),
      });
      // A later rollback to the same point must keep the change.
      point.restoreProgress = progress.keep();
      last = null;
      isDue = false;
      notice = { rollback: { reason, fromStep: step } };
      run.warn(
        `The run was rolled back from step ${step} to step ${progress.state.step}: ${reason}. The batches of step ` +
          `${step} are left out (rollback ${leftOut.length + 1} of at most ${maxRollbacks}).`,
      );
      if (outputFolder !== null) await run.checkpoints.abandonAfter(outputFolder, progress.state.step, run.warn);
      return true;
    },
    takeNotice() {
      const taken = notice;
      notice = {};
      return taken;
    },
  };
}

const tooMany = (step: number, reason: string, maxRollbacks: number): WhetstoneError =>
  new WhetstoneError(
    'ROLLBACK_LIMIT',
    `A callback requested a rollback after step ${step}, but the run was already rolled back ${maxRollbacks} times.`,
    {
      found: reason,
      expected: `at most ${maxRollbacks} rollbacks (training.maxRollbacks)`,
      hint: 'Lower the learning rate, clip gradients, or examine the data of the step.',
      details: { step, maxRollbacks },
    },
  );

const nothingToUndo = (step: number, reason: string): WhetstoneError =>
  new WhetstoneError(
    'CONFIG_CONFLICT',
    `A callback requested a rollback at step ${step}, but no step was made since the run started or was rolled back.`,
    { found: reason, hint: 'Call control.rollback only after a step of this run.' },
  );
