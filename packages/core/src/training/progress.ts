import { existsSync } from 'node:fs';
import {
  checkpointFolder,
  initialRunState,
  type CheckpointSources,
  type LogEntry,
  type RunState,
} from '../checkpoint/index.js';
import type { EvaluationReport, RunReport, StepReport } from '../contract/report.js';
import { createHostWeights, lessIsBetter, restoreBest } from './best-weights.js';
import { evaluate } from './evaluate.js';
import type { StepPlan } from './step-plan.js';
import { measureMetrics } from './measure-metrics.js';
import { stageOf, type TrainRun } from './train-run.js';
import { anyWorker } from '../distributed/step-sync.js';

/** The state of a run, and the operations between its steps. */
export interface RunProgress {
  readonly state: RunState;
  /** Completed epochs, with the fraction of the current one. */
  readonly epochsDone: number;
  change(changes: Partial<RunState>): void;
  /** Counts a completed step, and adds it to the log history at logging intervals. */
  countStep(report: StepReport): void;
  /**
   * Evaluates, calls the callbacks, and stores the weights if they are the best so far. Does nothing without evaluation
   * data.
   */
  evaluate(): Promise<void>;
  /** Saves a checkpoint, unless the state is already saved. Returns its folder, or null without an output folder. */
  save(): Promise<string | null>;
  /** Stores the current weights if a callback marked them as the best. */
  storeMarked(): Promise<void>;
  /** Restores the best weights, if any are stored and differ from the current ones. */
  restoreBest(): Promise<void>;
  report(stopReason: string | null): RunReport;
}

export function createProgress(
  run: TrainRun,
  sources: CheckpointSources,
  plan: StepPlan,
  batchesPerEpoch: number,
  totalParameters: number,
): RunProgress {
  const { checkpoints, config, hooks, outputFolder } = run;
  const { training } = config;
  const owner = sources.attachments[0].instance;
  const host = createHostWeights();
  let state = initialRunState;
  let saved: RunState | null = null;
  let evalLossAfter: number | null = null;
  let lastLoss = NaN;

  const change = (changes: Partial<RunState>): void => {
    state = { ...state, ...changes };
  };
  const epochsDone = (): number => state.epoch + state.batchesConsumed / batchesPerEpoch;
  const log = (entry: LogEntry): void =>
    change({ logHistory: [...state.logHistory, { epoch: epochsDone(), step: state.step, ...entry }] });
  const bestFolder = (): string | null =>
    outputFolder === null || state.best === null ? null : checkpointFolder(outputFolder, state.best.step);

  const save = async (): Promise<string | null> => {
    if (outputFolder === null) return null;
    if (saved === state) return checkpointFolder(outputFolder, state.step);
    const folder = await checkpoints.save(outputFolder, sources, state, {
      totalSteps: plan.totalSteps,
      epochsDone: epochsDone(),
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
    change({ best: { step: state.step, metric, loss } });
    // Only the worker that writes the result needs the weights.
    if ((await save()) === null && run.workers.rank === 0) await host.store(owner.trainable);
  };

  const measure = async (): Promise<EvaluationReport | null> => {
    const { backend, clock, signal, workers, evalData } = run;
    if (evalData === null) return null;
    const report = await evaluate(
      { model: run.loaded.model, data: evalData, backend, clock, signal, workers },
      { step: state.step, epoch: epochsDone() },
    );
    const { metrics = null } = run;
    if (report === null || metrics === null) return report;
    const started = clock.now();
    const values = await measureMetrics(run.loaded, metrics, {
      backend,
      signal,
      workers,
      what: `the metrics at step ${state.step}`,
    });
    return values === null ? null : { ...report, seconds: report.seconds + clock.now() - started, metrics: values };
  };

  return {
    get state() {
      return state;
    },
    get epochsDone() {
      return epochsDone();
    },
    change,
    save,
    countStep(report) {
      lastLoss = report.loss;
      // A skipped step may have a loss that is not finite. It must not enter the mean, and JSON cannot represent it.
      const unloggedLosses = [...state.unloggedLosses, report.loss].filter(Number.isFinite);
      change({
        step: report.step,
        batchesConsumed: state.batchesConsumed + report.microbatches,
        samples: state.samples + report.samples,
        tokens: state.tokens + report.tokens,
        supervisedTokens: state.supervisedTokens + report.supervisedTokens,
        seconds: state.seconds + report.seconds,
        unloggedLosses,
      });
      if (report.step % plan.loggingSteps !== 0 && report.step !== plan.totalSteps) return;
      const loss = unloggedLosses.reduce((sum, value) => sum + value, 0) / unloggedLosses.length;
      const gradNorm = report.metrics['gradNorm'];
      log({
        ...(unloggedLosses.length === 0 ? {} : { loss }),
        learning_rate: report.learningRate,
        ...(gradNorm === undefined || !Number.isFinite(gradNorm) ? {} : { grad_norm: gradNorm }),
      });
      change({ unloggedLosses: [] });
    },
    async evaluate() {
      if (run.evalData === null) return;
      const measured = await measure();
      if (measured === null) return;
      const report: EvaluationReport = { ...measured, ...stageOf(run) };
      evalLossAfter = report.loss;
      change({
        lastEvaluation: { step: state.step, loss: report.loss },
        evalLossBefore: state.step === 0 ? report.loss : state.evalLossBefore,
      });
      log({
        eval_loss: report.loss,
        eval_runtime: report.seconds,
        eval_samples_per_second: report.samples / report.seconds,
        ...Object.fromEntries(Object.entries(report.metrics).map(([name, value]) => [`eval_${name}`, value])),
      });
      await hooks.onEvaluate(report);
      const metric = metricOf(report, training.metricForBestModel);
      if (training.loadBestModelAtEnd && metric === undefined)
        run.warn(
          `The evaluation does not report the metric '${training.metricForBestModel}': the best weights are unknown.`,
        );
      const marked = await anyWorker(
        run.workers,
        `the best weights at step ${state.step}`,
        hooks.requests.takeMarkBest(),
      );
      const improved =
        training.loadBestModelAtEnd &&
        metric !== undefined &&
        isBetter(metric, state.best?.metric, training.greaterIsBetter ?? !lessIsBetter(training.metricForBestModel));
      if (marked || improved) await storeBest(metric ?? report.loss, report.loss);
    },
    async storeMarked() {
      if (!hooks.requests.takeMarkBest()) return;
      const evaluated = state.lastEvaluation?.step === state.step ? state.lastEvaluation.loss : null;
      await storeBest(evaluated ?? lastLoss, evaluated);
    },
    async restoreBest() {
      const { best } = state;
      if (best === null || best.step === state.step) return;
      const folder = bestFolder();
      if (folder !== null && !existsSync(folder)) {
        run.warn(`The checkpoint with the best weights was removed (${folder}): the last weights are used.`);
        return;
      }
      await restoreBest(folder, host, run.loaded.model, owner);
      evalLossAfter = best.loss ?? (await measure())?.loss ?? null;
    },
    report: (stopReason) => ({
      ...stageOf(run),
      evalLossBefore: state.evalLossBefore,
      evalLossAfter: evalLossAfter ?? state.lastEvaluation?.loss ?? null,
      steps: state.step,
      seconds: state.seconds,
      samplesPerSecond: rate(state.samples, state.seconds),
      tokensPerSecond: rate(state.tokens, state.seconds),
      supervisedTokensPerSecond: rate(state.supervisedTokens, state.seconds),
      // maxRSS is in KiB.
      peakMemoryBytes: process.resourceUsage().maxRSS * 1024,
      backend: run.backend.backend,
      engine: run.backend.engine,
      outputFolder,
      stopReason,
    }),
  };
}

const rate = (count: number, seconds: number): number => (seconds > 0 ? count / seconds : 0);

/** Returns a metric of an evaluation by its name, with or without the prefix `eval_` of transformers. */
function metricOf(report: EvaluationReport, name: string): number | undefined {
  const plain = name.replace(/^eval_/, '');
  if (plain === 'loss') return report.loss;
  return plain === 'perplexity' ? report.perplexity : report.metrics[plain];
}

function isBetter(value: number, best: number | undefined, greaterIsBetter: boolean): boolean {
  if (!Number.isFinite(value)) return false;
  if (best === undefined) return true;
  return greaterIsBetter ? value > best : value < best;
}
