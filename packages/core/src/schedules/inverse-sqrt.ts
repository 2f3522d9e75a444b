import type { Schedule } from '../contract/optimizer.js';
import { definePlugin, type ScheduleInputs } from '../contract/plugin.js';
import { countWarmupSteps, warmupSteps, withWarmup } from './warmup.js';

export interface InverseSqrtOptions {
  readonly warmupSteps: number;
  /**
   * The number of steps after which the square of the rate is halved. Default: the warmup steps, or 10,000 without
   * warmup.
   */
  readonly timescale?: number;
}

/** Returns the schedule 1 ÷ √(1 + steps since warmup ÷ timescale). */
function inverseSqrtSchedule(options: InverseSqrtOptions, inputs: ScheduleInputs): Schedule {
  const warmup = countWarmupSteps(options.warmupSteps, inputs);
  const timescale = options.timescale ?? (warmup || 10_000);
  return withWarmup(warmup, (step) => 1 / Math.sqrt((step + timescale - warmup) / timescale));
}

const configSchema = {
  type: 'object',
  additionalProperties: false,
  properties: {
    warmupSteps,
    timescale: {
      type: 'integer',
      minimum: 1,
      description:
        'The number of steps after which the square of the rate is halved. Default: the number of warmup steps, or ' +
        '10,000 without warmup.',
    },
  },
  required: ['warmupSteps'],
} as const;

export const inverseSqrt = definePlugin({
  apiVersion: 2,
  kind: 'schedule',
  name: 'inverse_sqrt',
  description: 'Decreases with the inverse square root of the number of steps.',
  configSchema,
  create: (options: InverseSqrtOptions) => (inputs: ScheduleInputs) => inverseSqrtSchedule(options, inputs),
});
