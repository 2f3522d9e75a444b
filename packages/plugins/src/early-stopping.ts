import {
  defaultsOf,
  definePlugin,
  WhetstoneError,
  type Callback,
  type Control,
  type EvaluationReport,
  type Json,
  type FromSchema,
  type RunOutline,
  type UnusedOption,
  type WhetstoneErrorOptions,
} from '@whetstone/core/contract';
import { didYouMean } from '@whetstone/core/util';

const configSchema = {
  type: 'object',
  properties: {
    metric: {
      type: 'string',
      minLength: 1,
      default: 'loss',
      description: '`loss`, `perplexity` or another metric of the evaluation, or `trainLoss`.',
    },
    mode: { enum: ['min', 'max'], default: 'min', description: 'Whether lower or higher values are better.' },
    patience: {
      type: 'integer',
      minimum: 1,
      default: 3,
      description: 'Number of evaluations without improvement before the run stops.',
    },
    threshold: {
      type: 'number',
      minimum: 0,
      default: 0,
      description: 'The minimum change that counts as an improvement.',
    },
    thresholdMode: {
      enum: ['absolute', 'relative'],
      default: 'absolute',
      description: "Whether the threshold is in the metric's unit or relative to the best value.",
    },
    baseline: {
      type: ['number', 'null'],
      default: null,
      description: 'The first improvement must exceed this value.',
    },
    warmupEvaluations: {
      type: 'integer',
      minimum: 0,
      default: 0,
      description: 'Number of initial evaluations that do not count towards patience.',
    },
    restoreBest: { type: 'boolean', default: true, description: 'Restore the best weights when the run ends.' },
    trainLossWindow: {
      type: 'integer',
      minimum: 1,
      default: 50,
      description: 'Number of steps whose mean loss is one value of `trainLoss`.',
    },
  },
  additionalProperties: false,
} as const;

/** The options of `early-stopping`. */
export type EarlyStoppingOptions = FromSchema<typeof configSchema>;

interface State {
  readonly best: number | null;
  readonly bestStep: number;
  readonly evaluations: number;
  readonly withoutImprovement: number;
  readonly windowSum: number;
  readonly windowSteps: number;
  /** The metric of `best`, and which of its values are better. States of earlier versions lack them. */
  readonly metric?: string;
  readonly mode?: 'min' | 'max';
}

const initialState: State = {
  best: null,
  bestStep: 0,
  evaluations: 0,
  withoutImprovement: 0,
  windowSum: 0,
  windowSteps: 0,
};

/** Returns the value of `metric` in an evaluation report; undefined if it was not computed. */
function valueOf(report: EvaluationReport, metric: string): number | undefined {
  if (metric === 'loss') return report.loss;
  if (metric === 'perplexity') return report.perplexity;
  return report.metrics[metric];
}

/** Returns whether a value is better than the best value so far by more than the threshold. */
function improves(
  value: number,
  best: number | null,
  { mode, threshold, thresholdMode, baseline }: EarlyStoppingOptions,
): boolean {
  const reference = best ?? baseline;
  if (!Number.isFinite(value)) return false;
  if (reference === null) return true;
  const margin = thresholdMode === 'relative' ? threshold * Math.abs(reference) : threshold;
  return mode === 'min' ? value < reference - margin : value > reference + margin;
}

/** Returns the state after an evaluation without improvement. The first `warmup` evaluations do not count. */
function afterNoImprovement(state: State, warmup: number): State {
  const evaluations = state.evaluations + 1;
  return { ...state, evaluations, withoutImprovement: evaluations <= warmup ? 0 : state.withoutImprovement + 1 };
}

/** Returns why the run stops, for the report. */
function stopReason(
  { best, bestStep, withoutImprovement }: State,
  value: number,
  { metric, baseline }: EarlyStoppingOptions,
): string {
  const found =
    best === null ? `the baseline ${baseline ?? 'none'} was never exceeded` : `best ${best} at step ${bestStep}`;
  return `early stopping: ${metric} did not improve in ${withoutImprovement} evaluations (${found}, now ${value})`;
}

const neverActs = (reason: string, options: WhetstoneErrorOptions): WhetstoneError =>
  new WhetstoneError('CONFIG_CONFLICT', `early-stopping could never act: ${reason}`, options);

/** Throws if the metric is never measured. */
function checkMetric(
  { metric, trainLossWindow }: EarlyStoppingOptions,
  { totalSteps, evaluates, evaluationNumbers }: RunOutline,
): void {
  const place = { path: 'callbacks' };
  if (metric === 'trainLoss') {
    if (trainLossWindow > totalSteps)
      throw neverActs('the run ends before the first window of trainLoss.', {
        place,
        expected: `trainLossWindow: at most ${totalSteps}, the number of steps`,
        found: String(trainLossWindow),
      });
  } else if (!evaluates)
    throw neverActs('the run makes no evaluation.', {
      place,
      expected: 'data.eval and training.evalStrategy, or the metric "trainLoss"',
      found: `metric "${metric}"`,
      hint: "A callback that requests evaluations declares it: `requests: ['evaluate']`.",
    });
  else if (evaluationNumbers !== null && !evaluationNumbers.includes(metric))
    throw neverActs(`no evaluation reports "${metric}".`, {
      place,
      expected: [...evaluationNumbers, 'trainLoss'].join(', '),
      found: metric,
      hint: didYouMean(metric, evaluationNumbers) ?? 'Add the metric to evaluation.metrics.',
    });
}

/**
 * Returns `patience` if the run has too few values of the metric to stop.
 *
 * @throws `CONFIG_CONFLICT` if the best weights are not restored either, so that the callback changes nothing
 */
function checkPatience(
  { metric, patience, warmupEvaluations, baseline, restoreBest, trainLossWindow }: EarlyStoppingOptions,
  { totalSteps, evaluations }: RunOutline,
): UnusedOption[] {
  const isTrainLoss = metric === 'trainLoss';
  const values = isTrainLoss ? Math.floor(totalSteps / trainLossWindow) : evaluations;
  // Without a baseline, the first finite value is always an improvement.
  const uncounted = Math.max(warmupEvaluations, baseline === null ? 1 : 0);
  if (values === null || patience + uncounted <= values) return [];
  const what = isTrainLoss ? 'windows of trainLoss' : 'evaluations';
  if (!restoreBest && patience + warmupEvaluations > values)
    throw neverActs(`it needs more than ${values} values of ${metric} to stop the run, and restores no weights.`, {
      place: { path: 'callbacks' },
      expected: `patience and warmupEvaluations: together at most ${values}, the number of ${what}`,
      found: `patience ${patience}, warmupEvaluations ${warmupEvaluations}`,
      hint: 'Lower patience, or evaluate more often.',
    });
  const reason =
    `the run has ${values} ${what}, and can be stopped only after ${patience + uncounted}: ` +
    (warmupEvaluations > 0
      ? `${warmupEvaluations} of warmupEvaluations and ${patience} of patience`
      : `${baseline === null ? 'the first, which is always an improvement, and ' : ''}${patience} of patience`);
  return [{ path: 'patience', reason }];
}

/** Returns the options that change nothing. Throws if the callback could never act. */
function checkEarlyStopping(options: EarlyStoppingOptions, run: RunOutline): UnusedOption[] {
  checkMetric(options, run);
  const { metric, trainLossWindow, threshold, thresholdMode } = options;
  const unused = checkPatience(options, run);
  if (metric !== 'trainLoss' && trainLossWindow !== configSchema.properties.trainLossWindow.default)
    unused.push({ path: 'trainLossWindow', reason: 'the metric is not trainLoss' });
  if (thresholdMode === 'relative' && threshold === 0)
    unused.push({ path: 'thresholdMode', reason: 'the threshold is 0' });
  return unused;
}

/**
 * Creates a callback that stops a run when a metric no longer improves. It marks the best weights, so that the run
 * restores them at the end. A value that is not finite is never an improvement. The state is stored in checkpoints.
 */
export function createEarlyStopping(given: Partial<EarlyStoppingOptions> = {}): Callback {
  const options: EarlyStoppingOptions = { ...defaultsOf(configSchema), ...given };
  const { metric, mode, patience, warmupEvaluations, restoreBest, trainLossWindow } = options;
  let state = initialState;

  const evaluateMetric = (value: number, step: number, control: Control): void => {
    if (improves(value, state.best, options)) {
      const evaluations = state.evaluations + 1;
      state = { ...state, best: value, bestStep: step, evaluations, withoutImprovement: 0 };
      if (restoreBest) control.markBest();
      return;
    }
    state = afterNoImprovement(state, warmupEvaluations);
    if (state.withoutImprovement >= patience) control.stop(stopReason(state, value, options));
  };

  return {
    requests: ['stop', 'markBest'],
    onStep: ({ loss, step, updated }, control) => {
      if (metric !== 'trainLoss') return;
      // A skipped step says nothing about the weights, and one NaN would make the mean of the window NaN.
      if (!updated && !Number.isFinite(loss)) return;
      const windowSum = state.windowSum + loss;
      const windowSteps = state.windowSteps + 1;
      const isFull = windowSteps >= trainLossWindow;
      state = { ...state, windowSum: isFull ? 0 : windowSum, windowSteps: isFull ? 0 : windowSteps };
      if (isFull) evaluateMetric(windowSum / windowSteps, step, control);
    },
    onEvaluate: (report, control) => {
      if (metric === 'trainLoss') return;
      const value = valueOf(report, metric);
      if (value === undefined) {
        throw new Error(
          `The evaluation does not report "${metric}". It reports: ` +
            `${['loss', 'perplexity', ...Object.keys(report.metrics)].join(', ')}.`,
        );
      }
      evaluateMetric(value, report.step, control);
    },
    checkRun: (run) => checkEarlyStopping(options, run),
    saveState: () => ({ ...state, metric, mode }) as unknown as Json,
    loadState: (value) => {
      const saved = value as unknown as State;
      // The values of another metric cannot be compared with those of this one.
      const isSame = (saved.metric ?? metric) === metric && (saved.mode ?? mode) === mode;
      state = isSame ? { ...initialState, ...saved } : initialState;
    },
  };
}

/** The callback `early-stopping`: stops a run when a metric no longer improves, and restores the best weights. */
export const earlyStopping = definePlugin({
  apiVersion: 2,
  kind: 'callback',
  name: 'early-stopping',
  description: 'Stops the run when a metric no longer improves, and restores the best weights.',
  configSchema,
  create: (options) => createEarlyStopping(options),
});
