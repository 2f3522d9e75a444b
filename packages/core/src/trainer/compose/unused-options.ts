import type { ConfigResolution } from '../../config/index.js';
import {
  WhetstoneError,
  isWhetstoneError,
  type Logger,
  type Metric,
  type RunOutline,
  type UnusedOption,
} from '../../contract/index.js';
import type { HookedCallback } from '../../hooks/index.js';
import { planSteps, type StepPlan } from '../../training/step-plan.js';
import type { Named } from '../../training/named.js';
import { evaluationNumbers } from '../../training/metric-runs.js';
import type { TrainRun } from '../../training/train-run.js';
import { didYouMean, messageOf } from '../../util/index.js';

/** Warns about each option that changes nothing. */
export function warnAboutUnused(unused: readonly UnusedOption[], logger: Pick<Logger, 'warn'>): void {
  for (const { path, reason } of unused) logger.warn(`${path} has no effect: ${reason}.`);
}

/** What the check of a run's options depends on, once its data is known. */
export interface PlannedRun {
  readonly resolution: ConfigResolution;
  readonly trainData: TrainRun['trainData'];
  readonly evalData: TrainRun['evalData'];
  readonly metrics: readonly Named<Metric>[];
  readonly callbacks: readonly HookedCallback[];
}

/**
 * Returns the options of the frame and of callbacks that change nothing in a run.
 *
 * @throws `CONFIG_CONFLICT` if a callback could never act, or if no evaluation reports the metric of the best weights
 */
export function findUnusedOptions({
  resolution,
  trainData,
  evalData,
  metrics,
  callbacks,
}: PlannedRun): readonly UnusedOption[] {
  const { training } = resolution.config;
  const plan = planSteps(training, trainData.batchesPerEpoch);
  const outline: RunOutline = {
    totalSteps: plan.totalSteps,
    evaluates: evalData !== null && (training.evalStrategy !== 'no' || callbacks.length > 1),
    evaluationNumbers: evaluationNumbers(metrics),
  };
  if (training.loadBestModelAtEnd) checkBestMetric(training.metricForBestModel, outline);
  return [...unusedSettings(resolution, plan), ...callbacks.flatMap((each) => checkCallback(each, outline))];
}

/** @throws `CONFIG_CONFLICT` if the metric of the best weights is not reported */
function checkBestMetric(metric: string, { evaluationNumbers: numbers }: RunOutline): void {
  if (numbers === null || numbers.includes(metric.replace(/^eval_/, ''))) return;
  throw new WhetstoneError('CONFIG_CONFLICT', `No evaluation reports "${metric}", so the best weights are unknown.`, {
    place: { path: 'training.metricForBestModel' },
    expected: numbers.join(', '),
    found: metric,
    hint: didYouMean(metric, numbers) ?? 'Add the metric to evaluation.metrics.',
  });
}

/** Returns the settings of `training` that other settings or the number of steps make ineffective. */
function unusedSettings(
  { config: { training }, wasWritten }: ConfigResolution,
  { totalSteps, evalSteps, saveSteps }: StepPlan,
): readonly UnusedOption[] {
  const unused: UnusedOption[] = [];
  const check = (key: string, isUnused: boolean, reason: string): void => {
    if (isUnused && wasWritten(['training', key])) unused.push({ path: `training.${key}`, reason });
  };
  check('numTrainEpochs', training.maxSteps > 0, `training.maxSteps (${training.maxSteps}) decides the length`);
  const isBeyond = (steps: number): boolean => steps > totalSteps;
  const beyond = `the run has only ${totalSteps} steps`;
  check('evalSteps', training.evalStrategy === 'steps' && isBeyond(evalSteps), beyond);
  check('saveSteps', training.saveStrategy === 'steps' && isBeyond(saveSteps), beyond);
  check('saveTotalLimit', training.saveStrategy === 'no', 'training.saveStrategy is "no"');
  return unused;
}

/** Lets a callback check that it can act, and adds its name to an error. */
function checkCallback({ plugin, callback }: HookedCallback, outline: RunOutline): readonly UnusedOption[] {
  try {
    return callback.checkRun?.(outline) ?? [];
  } catch (cause) {
    if (isWhetstoneError(cause)) throw cause;
    throw new WhetstoneError('PLUGIN_FAILED', `checkRun of '${plugin}' failed: ${messageOf(cause)}`, {
      details: { plugin },
      cause,
    });
  }
}
