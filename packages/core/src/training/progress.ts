import { initialRunState, type LogEntry, type OwedWork, type RunState } from '../checkpoint/index.js';
import type { EvaluationReport, RunReport, StepReport } from '../contract/report.js';
import type { StepPlan } from './step-plan.js';
import { stageOf, type TrainRun } from './train-run.js';

/** The progress of a run: its state, and the numbers of its report. */
export interface RunProgress {
  readonly state: RunState;
  /** The number of steps of the run. Steps that rollbacks left out do not count, unless `maxSteps` is set. */
  readonly totalSteps: number;
  /** Completed epochs, with the fraction of the current one. */
  readonly epochsDone: number;
  /** The loss of the latest step. */
  readonly lastLoss: number;
  change(changes: Partial<RunState>): void;
  /** Sets what the run has to do before the next step. */
  owe(work: Partial<OwedWork>): void;
  /**
   * Counts a completed step, and adds it to the log history at logging intervals.
   *
   * @param batchesConsumed the number of batches of the epoch that are consumed after the step
   */
  countStep(report: StepReport, batchesConsumed: number): void;
  /** Counts an evaluation, and adds it to the log history. */
  countEvaluation(report: EvaluationReport): void;
  /** Sets the evaluation loss of the weights with which the run ends; null if it was not measured. */
  setFinalLoss(loss: number | null): void;
  /** Returns to an earlier state of the run. */
  returnTo(state: RunState): void;
  report(stopReason: string | null): RunReport;
}

export function createProgress(run: TrainRun, plan: StepPlan, batchesPerEpoch: number): RunProgress {
  return new Progress(run, plan, batchesPerEpoch);
}

class Progress implements RunProgress {
  state: RunState = initialRunState;
  lastLoss = NaN;
  /** Undefined if the run ends with the weights of its last step. */
  private finalLoss: number | null | undefined = undefined;

  constructor(
    private readonly run: TrainRun,
    private readonly plan: StepPlan,
    private readonly batchesPerEpoch: number,
  ) {}

  get totalSteps(): number {
    const { totalSteps } = this.plan;
    const { leftOut, stepShift } = this.state;
    return this.run.config.training.maxSteps > 0 ? totalSteps : totalSteps + stepShift - leftOut.length;
  }

  get epochsDone(): number {
    return this.state.epoch + this.state.batchesConsumed / this.batchesPerEpoch;
  }

  change(changes: Partial<RunState>): void {
    this.state = { ...this.state, ...changes };
  }

  owe(work: Partial<OwedWork>): void {
    const { owed } = this.state;
    const next = { ...owed, ...work };
    // An unchanged state needs no second checkpoint.
    if (JSON.stringify(next) !== JSON.stringify(owed)) this.change({ owed: next });
  }

  countStep(report: StepReport, batchesConsumed: number): void {
    const { state } = this;
    this.lastLoss = report.loss;
    // A skipped step may have a loss that is not finite. It must not enter the mean, and JSON cannot represent it.
    const unloggedLosses = [...state.unloggedLosses, report.loss].filter(Number.isFinite);
    this.change({
      step: report.step,
      batchesConsumed,
      samples: state.samples + report.samples,
      tokens: state.tokens + report.tokens,
      supervisedTokens: state.supervisedTokens + report.supervisedTokens,
      seconds: state.seconds + report.seconds,
      unloggedLosses,
    });
    this.owe({ epochEnd: state.epoch });
    if (report.step % this.plan.loggingSteps !== 0 && report.step !== this.totalSteps) return;
    this.log(stepEntry(report, unloggedLosses));
    this.change({ unloggedLosses: [] });
  }

  countEvaluation(report: EvaluationReport): void {
    const { step, evalLossBefore } = this.state;
    this.change({
      lastEvaluation: { step, loss: report.loss },
      evalLossBefore: step === 0 ? report.loss : evalLossBefore,
    });
    this.owe({ evaluate: false });
    this.log(evaluationEntry(report));
  }

  setFinalLoss(loss: number | null): void {
    this.finalLoss = loss;
  }

  returnTo(state: RunState): void {
    this.state = state;
    this.finalLoss = undefined;
    this.lastLoss = NaN;
  }

  report(stopReason: string | null): RunReport {
    const { run, state } = this;
    const { lastEvaluation } = state;
    const lastLoss = lastEvaluation?.step === state.step ? lastEvaluation.loss : null;
    return {
      ...stageOf(run),
      evalLossBefore: state.evalLossBefore,
      evalLossAfter: this.finalLoss === undefined ? lastLoss : this.finalLoss,
      steps: state.step,
      seconds: state.seconds,
      samplesPerSecond: rate(state.samples, state.seconds),
      tokensPerSecond: rate(state.tokens, state.seconds),
      supervisedTokensPerSecond: rate(state.supervisedTokens, state.seconds),
      // maxRSS is in KiB.
      peakMemoryBytes: process.resourceUsage().maxRSS * 1024,
      backend: run.backend.backend,
      engine: run.backend.engine,
      outputFolder: run.outputFolder,
      stopReason,
    };
  }

  /** Adds an entry to the log history. */
  private log(entry: LogEntry): void {
    const { epochsDone: epoch, state } = this;
    this.change({ logHistory: [...state.logHistory, { epoch, step: state.step, ...entry }] });
  }
}

/** Returns the number per second; 0 if no time has passed. */
const rate = (count: number, seconds: number): number => (seconds > 0 ? count / seconds : 0);

function stepEntry({ learningRate, metrics }: StepReport, losses: readonly number[]): LogEntry {
  const loss = losses.reduce((sum, value) => sum + value, 0) / losses.length;
  const gradNorm = metrics['gradNorm'];
  return {
    ...(losses.length === 0 ? {} : { loss }),
    learning_rate: learningRate,
    ...(gradNorm === undefined || !Number.isFinite(gradNorm) ? {} : { grad_norm: gradNorm }),
  };
}

const evaluationEntry = ({ loss, seconds, samples, metrics }: EvaluationReport): LogEntry => ({
  eval_loss: loss,
  eval_runtime: seconds,
  eval_samples_per_second: samples / seconds,
  ...Object.fromEntries(Object.entries(metrics).map(([name, value]) => [`eval_${name}`, value])),
});
