import type { Schedule } from '../contract/optimizer.js';
import { definePlugin, type ScheduleInputs } from '../contract/plugin.js';
import { countWarmupSteps, progressAfterWarmup, warmupSteps, withWarmup } from './warmup.js';

/** Returns a schedule that decreases linearly from 1 after warmup to 0 at the last step. */
function linearSchedule(options: { readonly warmupSteps: number }, inputs: ScheduleInputs): Schedule {
  const warmup = countWarmupSteps(options.warmupSteps, inputs);
  return withWarmup(warmup, (step) => Math.max(0, 1 - progressAfterWarmup(step, warmup, inputs.totalSteps)));
}

const configSchema = {
  type: 'object',
  additionalProperties: false,
  properties: { warmupSteps },
  required: ['warmupSteps'],
} as const;

export const linear = definePlugin({
  apiVersion: 2,
  kind: 'schedule',
  name: 'linear',
  description: 'Decreases linearly to 0 after warmup.',
  configSchema,
  create: (options) => (inputs: ScheduleInputs) => linearSchedule(options, inputs),
});
