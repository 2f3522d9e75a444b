import type { Schedule } from '../contract/optimizer.js';
import type { ScheduleInputs } from '../contract/plugin.js';

/** The option that every schedule has. */
export const warmupSteps = {
  type: 'number',
  minimum: 0,
  default: 0,
  description:
    'Steps over which the rate rises linearly from 0; below 1: a ratio of all steps. The very first update ' +
    'then has rate 0.',
} as const;

/** The number of warmup steps that an option means: below 1 it is a ratio of all steps, rounded up. */
export function countWarmupSteps(option: number, { totalSteps }: ScheduleInputs): number {
  return option < 1 ? Math.ceil(option * totalSteps) : Math.floor(option);
}

/** Linear warmup from 0, then `after`, which is given the step itself. */
export function withWarmup(warmup: number, after: Schedule): Schedule {
  return (step) => (step < warmup ? step / Math.max(1, warmup) : after(step));
}

/** Fraction of the way from the end of warmup to the last step; above 1 beyond it. */
export function progressAfterWarmup(step: number, warmup: number, totalSteps: number): number {
  return (step - warmup) / Math.max(1, totalSteps - warmup);
}
