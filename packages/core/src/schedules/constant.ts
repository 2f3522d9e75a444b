import { definePlugin, type ScheduleInputs } from '../contract/plugin.js';
import { countWarmupSteps, warmupSteps, withWarmup } from './warmup.js';

/** Every schedule accepts the option, because a configuration changes `use` without removing it. */
const ignoredWarmup = {
  ...warmupSteps,
  description: 'Ignored, as transformers does. The schedule constant_with_warmup warms up.',
} as const;

const schemaOf = <W>(warmup: W) =>
  ({
    type: 'object',
    additionalProperties: false,
    properties: { warmupSteps: warmup },
    required: ['warmupSteps'],
  }) as const;

export const constant = definePlugin({
  apiVersion: 2,
  kind: 'schedule',
  name: 'constant',
  description: 'A constant learning rate, without warmup.',
  configSchema: schemaOf(ignoredWarmup),
  create: ({ warmupSteps: ignored }) => {
    // Read, because the run reports that it has no effect.
    void ignored;
    return () => () => 1;
  },
});

export const constantWithWarmup = definePlugin({
  apiVersion: 2,
  kind: 'schedule',
  name: 'constant_with_warmup',
  description: 'A constant learning rate after warmup.',
  configSchema: schemaOf(warmupSteps),
  create: (options) => (inputs: ScheduleInputs) => withWarmup(countWarmupSteps(options.warmupSteps, inputs), () => 1),
});
