import type { Schedule } from '../contract/optimizer.js';
import { definePlugin, type ScheduleInputs } from '../contract/plugin.js';
import { countWarmupSteps, warmupSteps, withWarmup } from './warmup.js';

/** Returns a schedule that is constant after warmup. */
function constantSchedule(options: { readonly warmupSteps: number }, inputs: ScheduleInputs): Schedule {
  return withWarmup(countWarmupSteps(options.warmupSteps, inputs), () => 1);
}

const configSchema = {
  type: 'object',
  additionalProperties: false,
  properties: { warmupSteps },
  required: ['warmupSteps'],
} as const;

export const constant = definePlugin({
  apiVersion: 2,
  kind: 'schedule',
  name: 'constant',
  description: 'A constant learning rate after warmup.',
  configSchema,
  create: (options) => (inputs: ScheduleInputs) => constantSchedule(options, inputs),
});

/** The schedule `constant` under the name that transformers uses for it with warmup. */
export const constantWithWarmup: typeof constant = { ...constant, name: 'constant_with_warmup' };
