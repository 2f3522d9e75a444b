import {
  createRestorePoint,
  returnToRestorePoint,
  sizesOf,
  withNewAttempt,
  type CheckpointSources,
  type LeftOutBatches,
  type RestorePoint,
  type RunState,
  type SavedRestorePoint,
} from '../checkpoint/index.js';
import { WhetstoneError } from '../contract/errors.js';
import type { Json } from '../contract/json.js';
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
  /** Returns the restore point if an evaluation that precedes the next step can request a rollback to it. */
  needed(): SavedRestorePoint | null;
  /** Uses the restore point of the checkpoint from which the run resumes, until its next step. */
  load(saved: SavedRestorePoint): void;
  /** Returns what the report of the first step after a rollback says about it, and otherwise an empty object. */
  takeNotice(): Pick<StepReport, 'rollback'>;
}

/** The progress of a run at its restore point, in a checkpoint. */
interface SavedProgress {
  readonly state: RunState;
  /** The batches of the last step. */
  readonly last: LeftOutBatches;
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
  let point: { readonly contents: RestorePoint; readonly restoreBest: () => void; state: RunState } | null = null;
  let last: LeftOutBatches | null = null;
  let notice: Pick<StepReport, 'rollback'> = {};

  return {
    renew() {
      isDue = hooks.rollsBack;
    },
    async beforeStep(batches) {
      last = batches;
      if (!isDue) return;
      isDue = false;
      point = {
        contents: await createRestorePoint(sources),
        restoreBest: checkpoints.keep(),
        state: progress.state,
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
      await returnToRestorePoint(sources, point.contents);
      point.restoreBest();
      progress.returnTo(point.state);
      run.backend.barrier();
      progress.change({
        leftOut: [...leftOut, { epoch, begin, end }],
        // The checkpoints from here on are not in the history of those of the steps that are undone.
        attempts: withNewAttempt(progress.state),
        ...(learningRate === null ? {} : { learningRate }),
      });
      // A later rollback to the same point must keep the change.
      point.state = progress.state;
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
    needed() {
      if (!hooks.rollsBack || point === null || last === null || !mayEvaluate(run, progress)) return null;
      const { epoch, begin, end } = last;
      const saved: SavedProgress = { state: point.state, last: { epoch, begin, end } };
      return { point: point.contents, progress: saved as unknown as Json };
    },
    load(saved) {
      const { state, last: batches } = saved.progress as unknown as SavedProgress;
      // The positions of other batch sizes mean nothing here.
      if (!hooks.rollsBack || JSON.stringify(state.sizes) !== JSON.stringify(sizesOf(run.config))) return;
      point = { contents: saved.point, restoreBest: () => undefined, state };
      last = batches;
    },
    takeNotice() {
      const taken = notice;
      notice = {};
      return taken;
    },
  };
}

/** Returns whether an evaluation is due before the next step. */
function mayEvaluate({ config, evalData, hooks }: TrainRun, { state, totalSteps, epochsDone }: RunProgress): boolean {
  const { evalStrategy } = config.training;
  if (evalData === null) return false;
  if (state.owed.evaluate) return true;
  if (evalStrategy === 'no' || state.lastEvaluation?.step === state.step) return false;
  const isLast = state.step >= totalSteps || hooks.requests.stopReason !== null;
  return isLast || (evalStrategy === 'epoch' && Number.isInteger(epochsDone));
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
