import { definePlugin, WhetstoneError, type Callback, type Json } from '@whetstone/core/contract';

const configSchema = {
  type: 'object',
  properties: {
    action: {
      enum: ['stop', 'error'],
      default: 'error',
      description: 'stop: end the run as if it were done; error: fail with NON_FINITE.',
    },
    lossThreshold: {
      type: ['number', 'null'],
      default: null,
      description: 'A loss above this counts as gone astray too.',
    },
    patience: { type: 'integer', minimum: 1, default: 1, description: 'Steps in a row before the guard acts.' },
  },
  additionalProperties: false,
} as const;

export interface NanGuardOptions {
  readonly action?: 'stop' | 'error';
  readonly lossThreshold?: number | null;
  readonly patience?: number;
}

/** Ends a run whose loss or gradient norm is no finite number, or whose loss stays above a threshold. */
export function createNanGuard(options: NanGuardOptions = {}): Callback {
  const { action = 'error', lossThreshold = null, patience = 1 } = options;
  let inARow = 0;
  return {
    onStep: ({ step, loss, metrics }, control) => {
      const { gradNorm } = metrics;
      const problem = !Number.isFinite(loss)
        ? `the loss is ${loss}`
        : gradNorm !== undefined && !Number.isFinite(gradNorm)
          ? `the gradient norm is ${gradNorm}`
          : lossThreshold !== null && loss > lossThreshold
            ? `the loss ${loss} is above ${lossThreshold}`
            : null;
      inARow = problem === null ? 0 : inARow + 1;
      if (problem === null || inARow < patience) return;
      const reason = `At step ${step} ${problem}${inARow > 1 ? `, for ${inARow} steps in a row` : ''}.`;
      if (action === 'stop') return control.stop(reason);
      throw new WhetstoneError('NON_FINITE', reason, {
        hint: 'Lower the learning rate, add warmup steps, or look at the batch of that step.',
        details: { step, loss, gradNorm },
      });
    },
    saveState: (): Json => ({ inARow }),
    loadState: (state) => {
      ({ inARow } = state as { inARow: number });
    },
  };
}

export const nanGuard = definePlugin({
  apiVersion: 1,
  kind: 'callback',
  name: 'nan-guard',
  description: 'Ends a run whose loss or gradients are no longer numbers.',
  configSchema,
  create: (options) => createNanGuard(options),
});
