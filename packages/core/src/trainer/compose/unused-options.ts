import { plainMetric } from '../../checkpoint/index.js';
import type { ConfigResolution } from '../../config/index.js';
import {
  WhetstoneError,
  isWhetstoneError,
  type Logger,
  type Metric,
  type Optimizer,
  type RunOutline,
  type UnusedOption,
} from '../../contract/index.js';
import { mayRequest, type HookedCallback } from '../../hooks/index.js';
import { planSteps, type StepPlan } from '../../training/step-plan.js';
import type { Named } from '../../training/named.js';
import { evaluationNumbers } from '../../training/metric-runs.js';
import type { TrainRun } from '../../training/train-run.js';
import { didYouMean, frozen, messageOf } from '../../util/index.js';
import { unusedOptionProblems } from '../validate-plan.js';
import type { RunStrategies } from './strategies.js';
import { checkSchedule, type CheckedSchedule } from './unused-schedule.js';
import { unusedSettings } from './unused-settings.js';
import { unusedSupervision } from './unused-supervision.js';

/** Warns about each option that changes nothing. */
export function warnAboutUnused(unused: readonly UnusedOption[], logger: Pick<Logger, 'warn'>): void {
  for (const { path, reason, effect = 'has no effect' } of unused) logger.warn(`${path} ${effect}: ${reason}.`);
}

/** What the check of a run's options depends on, once its data is known. */
export interface PlannedRun {
  readonly resolution: ConfigResolution;
  readonly trainData: TrainRun['trainData'];
  readonly evalData: TrainRun['evalData'];
  readonly metrics: readonly Named<Metric>[];
  readonly callbacks: readonly HookedCallback[];
  /** Their options are checked, but they request nothing. */
  readonly loggers: readonly HookedCallback[];
  readonly strategies: RunStrategies;
  readonly optimizer: Named<Optimizer>;
  readonly schedule: CheckedSchedule;
  /** The names of the parameters that are trained; null if unknown. */
  readonly trainable: readonly string[] | null;
  /** The number of processes. */
  readonly workers: number;
}

/**
 * Returns the options of a run that change nothing: those of the frame, the strategies, the optimizer, the schedule,
 * the callbacks and the loggers.
 *
 * @throws `CONFIG_CONFLICT` if a callback could never act, if every step has the learning rate 0, or if no evaluation
 *   reports the metric of the best weights
 */
export async function findUnusedOptions(planned: PlannedRun): Promise<readonly UnusedOption[]> {
  const { resolution, trainData, callbacks, loggers, strategies, optimizer } = planned;
  const { training } = resolution.config;
  const plan = planSteps(training, trainData.batchesPerEpoch);
  const outline = outlineOf(planned, plan);
  if (training.loadBestModelAtEnd) checkBestMetric(training.metricForBestModel, outline);
  const { owner, companions } = strategies;
  return [
    ...unusedSettings({ ...planned, batchesPerEpoch: trainData.batchesPerEpoch }, plan, outline),
    ...unusedSupervision(resolution.config.data, (key) => resolution.wasWritten(['data', key]), trainData.summary),
    ...(await checkSchedule(planned.schedule, resolution, plan.totalSteps, mayRequestOf(callbacks, 'setLearningRate'))),
    ...checkRunOf(optimizer.plugin, 'optimizer', optimizer.instance, outline),
    ...checkRunOf(owner.plugin, 'strategy.options', owner.instance, outline),
    ...companions.flatMap(({ plugin, instance }, index) =>
      checkRunOf(plugin, `companions[${index}].options`, instance, outline),
    ),
    ...[...callbacks, ...loggers].flatMap(({ plugin, path, callback }) =>
      checkRunOf(plugin, path ?? `options of ${plugin}`, callback, outline),
    ),
  ];
}

const mayRequestOf = (callbacks: readonly HookedCallback[], request: 'evaluate' | 'setLearningRate'): boolean =>
  callbacks.some(({ callback }) => mayRequest(callback, request));

/** Returns what callbacks and strategies may know about a run before it starts. */
function outlineOf(
  { resolution, trainData, evalData, metrics, callbacks, trainable }: PlannedRun,
  { totalSteps, stepsPerEpoch, evalSteps }: StepPlan,
): RunOutline {
  const { evalStrategy, gradientAccumulationSteps } = resolution.config.training;
  const { batchesPerEpoch } = trainData;
  // Every run that evaluates also evaluates after its last step.
  const planned = {
    no: 0,
    steps: Math.ceil(totalSteps / evalSteps),
    epoch: Math.ceil(totalSteps / stepsPerEpoch),
    ends: 2,
  }[evalStrategy];
  const evaluations = evalData === null ? 0 : mayRequestOf(callbacks, 'evaluate') ? null : planned;
  return {
    totalSteps,
    stepsPerEpoch,
    batches:
      Math.floor(totalSteps / stepsPerEpoch) * batchesPerEpoch +
      Math.min((totalSteps % stepsPerEpoch) * gradientAccumulationSteps, batchesPerEpoch),
    evaluates: evaluations !== 0,
    evaluations,
    evaluationNumbers: evaluationNumbers(metrics),
    trainable,
  };
}

/** @throws `CONFIG_CONFLICT` if the metric of the best weights is not reported */
function checkBestMetric(metric: string, { evaluationNumbers: numbers }: RunOutline): void {
  if (numbers === null || numbers.includes(plainMetric(metric))) return;
  throw new WhetstoneError('CONFIG_CONFLICT', `No evaluation reports "${metric}", so the best weights are unknown.`, {
    place: { path: 'training.metricForBestModel' },
    expected: numbers.join(', '),
    found: metric,
    hint: didYouMean(metric, numbers) ?? 'Add the metric to evaluation.metrics.',
  });
}

/** Lets a plugin check its options against the run. Adds the path of the options, and the plugin's name to an error. */
function checkRunOf(
  plugin: string,
  path: string,
  instance: { checkRun?(run: RunOutline): readonly UnusedOption[] },
  outline: RunOutline,
): readonly UnusedOption[] {
  if (instance.checkRun === undefined) return [];
  try {
    const unused: unknown = instance.checkRun(frozen(outline));
    const [first, ...rest] = unusedOptionProblems(unused, 'checkRun()');
    if (first !== undefined)
      throw new WhetstoneError(
        'PLUGIN_INVALID',
        `checkRun of '${plugin}' returned an invalid result. ${first.message}`,
        {
          ...first,
          problems: rest,
          details: { plugin },
        },
      );
    return (unused as readonly UnusedOption[]).map((each) => ({ ...each, path: `${path}.${each.path}` }));
  } catch (cause) {
    if (isWhetstoneError(cause)) throw cause;
    throw new WhetstoneError('PLUGIN_FAILED', `checkRun of '${plugin}' failed: ${messageOf(cause)}`, {
      details: { plugin },
      cause,
    });
  }
}
