import { WhetstoneError } from '../contract/errors.js';
import type { Schedule } from '../contract/optimizer.js';
import { definePlugin, type ScheduleInputs } from '../contract/plugin.js';
import { countWarmupSteps, warmupSteps, withWarmup } from './warmup.js';

interface PolynomialOptions {
  readonly warmupSteps: number;
  /** The learning rate at the last step, as an absolute value. */
  readonly lrEnd: number;
  readonly power: number;
}

/**
 * Returns a schedule whose distance to `lrEnd` is proportional to (share of steps that remain)^power.
 *
 * @throws `CONFIG_CONFLICT` if the rate would not decrease
 */
function polynomialSchedule({ lrEnd, power, ...options }: PolynomialOptions, inputs: ScheduleInputs): Schedule {
  const { totalSteps, learningRate } = inputs;
  const warmup = countWarmupSteps(options.warmupSteps, inputs);
  if (lrEnd >= learningRate)
    throw new WhetstoneError('CONFIG_CONFLICT', 'The learning rate of the schedule polynomial would not decrease.', {
      place: { path: 'schedule.lrEnd' },
      expected: `less than optimizer.learningRate, ${learningRate}`,
      found: String(lrEnd),
    });
  return withWarmup(warmup, (step) => {
    if (step > totalSteps) return lrEnd / learningRate;
    const remaining = 1 - (step - warmup) / Math.max(1, totalSteps - warmup);
    return ((learningRate - lrEnd) * remaining ** power + lrEnd) / learningRate;
  });
}

const configSchema = {
  type: 'object',
  additionalProperties: false,
  properties: {
    warmupSteps,
    lrEnd: {
      type: 'number',
      minimum: 0,
      default: 1e-7,
      description: 'The learning rate at the last step, as an absolute value.',
    },
    power: { type: 'number', exclusiveMinimum: 0, default: 1, description: 'The exponent; 1 is a linear decrease.' },
  },
  required: ['warmupSteps', 'lrEnd', 'power'],
} as const;

export const polynomial = definePlugin({
  apiVersion: 2,
  kind: 'schedule',
  name: 'polynomial',
  description: 'Decreases polynomially to an end rate.',
  configSchema,
  create: (options) => (inputs: ScheduleInputs) => polynomialSchedule(options, inputs),
});
