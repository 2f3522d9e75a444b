import type { Schedule } from '../contract/optimizer.js';
import type { ScheduleInputs } from '../contract/plugin.js';

/** The schema of the option `warmupSteps`, which every schedule has. */
export const warmupSteps = {
  type: 'number',
  minimum: 0,
  default: 0,
  description:
    'The number of steps during which the learning rate increases linearly from 0; below 1: a ratio of all steps. ' +
    'With warmup, the first update has rate 0.',
} as const;

/**
 * Returns the number of warmup steps. Below 1 the option is a ratio of all steps and rounded up, otherwise rounded
 * down.
 */
export function countWarmupSteps(option: number, { totalSteps }: ScheduleInputs): number {
  return option < 1 ? Math.ceil(option * totalSteps) : Math.floor(option);
}

/** Returns a schedule with linear warmup from 0, followed by `after`, which gets the step counted from the start. */
export function withWarmup(warmup: number, after: Schedule): Schedule {
  return (step) => (step < warmup ? step / Math.max(1, warmup) : after(step));
}

/** Returns the progress from the end of warmup (0) to the last step (1); more than 1 after it. */
export function progressAfterWarmup(step: number, warmup: number, totalSteps: number): number {
  return (step - warmup) / Math.max(1, totalSteps - warmup);
}
