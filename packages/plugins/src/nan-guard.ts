import {
  defaultsOf,
  definePlugin,
  WhetstoneError,
  type Callback,
  type FromSchema,
  type Json,
  type RunOutline,
  type StepReport,
  type UnusedOption,
} from '@whetstone/core/contract';

const configSchema = {
  type: 'object',
  properties: {
    action: {
      enum: ['stop', 'error', 'skip'],
      default: 'error',
      description:
        'stop: end the run normally; error: fail with NON_FINITE; skip: continue, and fail after more than maxSkips ' +
        'steps in a row that are not finite. No step whose loss or gradients are not finite updates the weights.',
    },
    lossThreshold: {
      type: ['number', 'null'],
      default: null,
      description:
        'A step with a loss above this value counts as diverged. With `skip`, these steps are not skipped: they fail ' +
        'the run.',
    },
    patience: {
      type: 'integer',
      minimum: 1,
      default: 1,
      description: 'Number of consecutive diverged steps before the action. With `skip`, of those above lossThreshold.',
    },
    maxSkips: {
      type: 'integer',
      minimum: 1,
      default: 10,
      description: 'With `skip`: maximum number of consecutive skipped steps. The next one fails the run.',
    },
  },
  additionalProperties: false,
} as const;

/** The options of `nan-guard`. */
export type NanGuardOptions = Partial<FromSchema<typeof configSchema>>;

const defaults = defaultsOf(configSchema);

/** Returns a description if the loss is above the threshold, otherwise null. */
function aboveThreshold(loss: number, threshold: number | null): string | null {
  return threshold !== null && loss > threshold ? `the loss ${loss} is above ${threshold}` : null;
}

/** Returns a description if the step diverged, otherwise null. */
function divergence({ loss, nonFinite, metrics: { gradNorm } }: StepReport, threshold: number | null): string | null {
  if (!Number.isFinite(loss)) return `the loss is ${loss}`;
  if (nonFinite === 'gradient') return 'a gradient is not a finite number';
  if (gradNorm !== undefined && !Number.isFinite(gradNorm)) return `the gradient norm is ${gradNorm}`;
  return aboveThreshold(loss, threshold);
}

/** Returns a message such as `At step 7 the loss is NaN, for 3 steps in a row.` */
const sentence = (step: number, problem: string, inARow: number): string =>
  `At step ${step} ${problem}${inARow > 1 ? `, for ${inARow} steps in a row` : ''}.`;

function nonFinite(message: string, hint: string, { step, loss, metrics: { gradNorm } }: StepReport): WhetstoneError {
  return new WhetstoneError('NON_FINITE', message, { hint, details: { step, loss, gradNorm } });
}

/**
 * Creates a callback that ends a run whose loss or gradient norm is not finite, or whose loss stays above a threshold.
 * With the action `skip`, it skips steps that are not finite.
 *
 * @param warn receives a message for each skipped step
 */
export function createNanGuard(options: NanGuardOptions = {}, warn: (message: string) => void = () => {}): Callback {
  return options.action === 'skip' ? createSkippingGuard(options, warn) : createEndingGuard(options);
}

/** Returns the limits that a run cannot reach, because it has fewer steps. */
function unusedLimits(
  limits: Readonly<Partial<Record<'patience' | 'maxSkips', number>>>,
  { totalSteps }: Pick<RunOutline, 'totalSteps'>,
): readonly UnusedOption[] {
  const reason = `the run has only ${totalSteps} ${totalSteps === 1 ? 'step' : 'steps'}`;
  return (['patience', 'maxSkips'] as const).flatMap((path) => {
    const limit = limits[path] ?? defaults[path];
    // The run fails at the step after `maxSkips`.
    const needed = path === 'maxSkips' ? limit + 1 : limit;
    return limit === defaults[path] || needed <= totalSteps ? [] : [{ path, effect: 'is too large', reason }];
  });
}

/** Counts consecutive diverged steps, and ends the run when there are `patience` of them. */
function createEndingGuard(options: NanGuardOptions): Callback {
  // `maxSkips` has no effect. It is not read, so that the run reports it as an unused key.
  const { action = defaults.action, lossThreshold = defaults.lossThreshold, patience = defaults.patience } = options;
  let inARow = 0;
  return {
    requests: ['stop'],
    // Otherwise the first step that is not finite fails the run before the callback sees it.
    ...(action === 'stop' || patience > 1 ? { nonFinite: 'skip' } : {}),
    onStep: (report, control) => {
      const problem = divergence(report, lossThreshold);
      inARow = problem === null ? 0 : inARow + 1;
      if (problem === null || inARow < patience) return;
      const reason = sentence(report.step, problem, inARow);
      if (action === 'stop') return control.stop(reason);
      throw nonFinite(reason, 'Lower the learning rate, add warmup steps, or inspect the batch of that step.', report);
    },
    checkRun: (run) => unusedLimits({ patience }, run),
    saveState: (): Json => ({ inARow }),
    loadState: (state) => {
      ({ inARow } = state as { inARow: number });
    },
  };
}

/**
 * Makes the engine skip steps that are not finite. If the weights themselves are not finite, all steps are skipped: the
 * limit of consecutive skips ends the run.
 */
function createSkippingGuard(options: NanGuardOptions, warn: (message: string) => void): Callback {
  const { lossThreshold = defaults.lossThreshold, maxSkips = defaults.maxSkips } = options;
  // Without a threshold, `patience` has no effect. It is not read, so that the run reports it as an unused key.
  const patience = lossThreshold === null ? 1 : (options.patience ?? defaults.patience);
  let skipped = 0;
  let inARow = 0;
  return {
    nonFinite: 'skip',
    onStep: (report) => {
      const { step, loss, skipReason = 'the step is not finite' } = report;
      if (report.nonFinite !== undefined) {
        skipped++;
        if (skipped > maxSkips)
          throw nonFinite(
            sentence(step, skipReason, skipped),
            'The weights may no longer be finite. Lower the learning rate, add warmup steps, or continue from an ' +
              'earlier checkpoint.',
            report,
          );
        warn(`The update of step ${step} was skipped: ${skipReason} (${skipped} in a row, at most ${maxSkips}).`);
        return;
      }
      skipped = 0;
      const problem = aboveThreshold(loss, lossThreshold);
      inARow = problem === null ? 0 : inARow + 1;
      if (problem !== null && inARow >= patience)
        throw nonFinite(sentence(step, problem, inARow), 'Lower the learning rate or add warmup steps.', report);
    },
    checkRun: (run) => unusedLimits({ patience, maxSkips }, run),
    saveState: (): Json => ({ skipped, inARow }),
    loadState: (state) => {
      ({ skipped = 0, inARow = 0 } = state as { skipped?: number; inARow?: number });
    },
  };
}

/** The callback `nan-guard`: skips steps that are not finite, or ends the run at them. */
export const nanGuard = definePlugin({
  apiVersion: 2,
  kind: 'callback',
  name: 'nan-guard',
  description: 'Ends the run, or skips the update, if the loss or a gradient is not a finite number.',
  configSchema,
  create: (options, { logger }) => createNanGuard(options, (message) => logger.warn(message)),
});
