import type { Schedule } from '../contract/optimizer.js';
import { definePlugin, type ScheduleInputs } from '../contract/plugin.js';
import { countWarmupSteps, progressAfterWarmup, warmupSteps, withWarmup } from './warmup.js';

/** From 1 down to 0 in a straight line after warmup. */
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
  apiVersion: 1,
  kind: 'schedule',
  name: 'linear',
  description: 'Falls to 0 in a straight line.',
  configSchema,
  create: (options) => (inputs: ScheduleInputs) => linearSchedule(options, inputs),
});
