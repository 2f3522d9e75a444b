import { lessIsBetter, plainMetric } from '../checkpoint/index.js';
import type { EvaluationReport } from '../contract/report.js';
import { evaluate } from './evaluate.js';
import { naming } from '../memory/index.js';
import type { EvaluationWeights } from './evaluation-weights.js';
import { measureMetrics } from './measure-metrics.js';
import type { RunProgress } from './progress.js';
import { agreeOnRequests } from './requests.js';
import type { RunCheckpoints } from './run-checkpoints.js';
import { stageOf, type TrainRun } from './train-run.js';

/** The components of a run that its evaluation uses. */
interface EvaluatedRun {
  readonly run: TrainRun;
  readonly progress: RunProgress;
  readonly checkpoints: RunCheckpoints;
  readonly evaluationWeights: EvaluationWeights;
}

/** Evaluates the current weights. Returns null without evaluation data, or if interrupted. */
export const measure = (run: TrainRun, progress: RunProgress): Promise<EvaluationReport | null> =>
  naming(
    () => `The evaluation after step ${progress.state.step} (training.perDeviceEvalBatchSize)`,
    () => measureLossAndMetrics(run, progress),
  );

async function measureLossAndMetrics(
  run: TrainRun,
  { state, epochsDone }: RunProgress,
): Promise<EvaluationReport | null> {
  const { backend, clock, signal, workers, evalData, metrics = null } = run;
  if (evalData === null) return null;
  const report = await evaluate(
    { model: run.loaded.model, data: evalData, backend, clock, signal, workers },
    { step: state.step, epoch: epochsDone },
  );
  if (report === null || metrics === null) return report;
  const started = clock.now();
  const what = `the metrics at step ${state.step}`;
  const values = await measureMetrics(run.loaded, metrics, { backend, signal, workers, what });
  return values === null ? null : { ...report, seconds: report.seconds + clock.now() - started, metrics: values };
}

/**
 * Evaluates with the evaluation weights, calls the callbacks, and stores the weights if they are the best so far,
 * unless a callback requests a rollback. Does nothing without evaluation data.
 */
export async function evaluateRun({ run, progress, checkpoints, evaluationWeights }: EvaluatedRun): Promise<void> {
  const { hooks } = run;
  const { training } = run.config;
  const report = await evaluationWeights.during(async () => {
    const measured = await measure(run, progress);
    if (measured === null) return null;
    const complete: EvaluationReport = { ...measured, ...stageOf(run) };
    progress.countEvaluation(complete);
    await hooks.onEvaluate(complete);
    return complete;
  });
  if (report === null) return;
  await agreeOnRequests(run, progress, `the requests after the evaluation at step ${report.step}`);
  const metric = metricOf(report, training.metricForBestModel);
  if (training.loadBestModelAtEnd && metric === undefined)
    run.warn(
      `The evaluation does not report the metric '${training.metricForBestModel}': the best weights are unknown.`,
    );
  if (hooks.requests.rollbackReason !== null) return;
  const improved =
    training.loadBestModelAtEnd &&
    metric !== undefined &&
    isBetter(
      metric,
      progress.state.best?.metric,
      training.greaterIsBetter ?? !lessIsBetter(training.metricForBestModel),
    );
  if (hooks.requests.takeMarkBest() || improved) await checkpoints.storeBest(metric ?? report.loss, report.loss);
}

/** Returns a metric of an evaluation by its name, with or without the prefix `eval_` of transformers. */
function metricOf(report: EvaluationReport, name: string): number | undefined {
  const plain = plainMetric(name);
  if (plain === 'loss') return report.loss;
  return plain === 'perplexity' ? report.perplexity : report.metrics[plain];
}

function isBetter(value: number, best: number | undefined, greaterIsBetter: boolean): boolean {
  if (!Number.isFinite(value)) return false;
  if (best === undefined) return true;
  return greaterIsBetter ? value > best : value < best;
}
