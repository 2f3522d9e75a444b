import type { Schedule } from '../contract/optimizer.js';
import { definePlugin, type ScheduleInputs } from '../contract/plugin.js';
import { countWarmupSteps, warmupSteps, withWarmup } from './warmup.js';

/** The base rate throughout, after warmup. */
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
  apiVersion: 1,
  kind: 'schedule',
  name: 'constant',
  description: 'Stays where it is, after warmup where asked.',
  configSchema,
  create: (options) => (inputs: ScheduleInputs) => constantSchedule(options, inputs),
});

/** The name that transformers has for `constant` with warmup. */
export const constantWithWarmup: typeof constant = { ...constant, name: 'constant_with_warmup' };
