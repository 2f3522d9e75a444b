import type { Schedule } from '../contract/optimizer.js';
import { definePlugin, type ScheduleInputs } from '../contract/plugin.js';
import { countWarmupSteps, warmupSteps, withWarmup } from './warmup.js';

export interface InverseSqrtOptions {
  readonly warmupSteps: number;
  /** Steps over which the rate halves its square; the warmup's length, or 10,000, where it is left out. */
  readonly timescale?: number;
}

/** 1 ÷ √(1 + steps since warmup ÷ timescale). */
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
      description: "Steps; the warmup's length, or 10,000, where it is left out.",
    },
  },
  required: ['warmupSteps'],
} as const;

export const inverseSqrt = definePlugin({
  apiVersion: 1,
  kind: 'schedule',
  name: 'inverse_sqrt',
  description: 'Falls with the root of the steps.',
  configSchema,
  create: (options: InverseSqrtOptions) => (inputs: ScheduleInputs) => inverseSqrtSchedule(options, inputs),
});
