import type { Schedule } from '../contract/optimizer.js';
import { definePlugin, type ScheduleInputs } from '../contract/plugin.js';
import { countWarmupSteps, progressAfterWarmup, warmupSteps, withWarmup } from './warmup.js';

export interface CosineOptions {
  readonly warmupSteps: number;
  /** The number of cosine periods in the run; 0.5 decreases once from 1 to 0. */
  readonly numCycles: number;
}

/** Returns a cosine between 1 and 0 with `cycles` periods. */
const wave = (cycles: number, progress: number): number => 0.5 * (1 + Math.cos(Math.PI * cycles * 2 * progress));
/** Maps factors from [0, 1] to [floor, 1]. */
const raised = (factor: number, floor: number): number => Math.max(0, factor * (1 - floor) + floor);

/**
 * Returns a schedule that follows a cosine from 1 after warmup to `floor` (Loshchilov & Hutter, 2017, without
 * restarts).
 */
export function cosineSchedule({ numCycles, ...options }: CosineOptions, inputs: ScheduleInputs, floor = 0): Schedule {
  const warmup = countWarmupSteps(options.warmupSteps, inputs);
  return withWarmup(warmup, (step) =>
    raised(wave(numCycles, progressAfterWarmup(step, warmup, inputs.totalSteps)), floor),
  );
}

/** Returns a schedule of `numCycles` cosines after warmup, each from 1 to 0 (Loshchilov & Hutter, 2017). */
function cosineWithRestartsSchedule({ numCycles, ...options }: CosineOptions, inputs: ScheduleInputs): Schedule {
  const warmup = countWarmupSteps(options.warmupSteps, inputs);
  return withWarmup(warmup, (step) => {
    const progress = progressAfterWarmup(step, warmup, inputs.totalSteps);
    return progress >= 1 ? 0 : Math.max(0, wave(0.5, (numCycles * progress) % 1));
  });
}

/** The minimum learning rate of a schedule. At most one of the options is set. */
export interface FloorOptions {
  /** The minimum as an absolute rate. */
  readonly minLr?: number;
  /** The minimum as a ratio of the base rate. */
  readonly minLrRate?: number;
}

const floorOf = ({ minLr, minLrRate }: FloorOptions, { learningRate }: ScheduleInputs): number =>
  minLr === undefined ? (minLrRate ?? 0) : minLr / learningRate;

/** Returns a schedule that follows a cosine to the minimum rate. */
function cosineWithMinLrSchedule(options: CosineOptions & FloorOptions, inputs: ScheduleInputs): Schedule {
  return cosineSchedule(options, inputs, floorOf(options, inputs));
}

/**
 * Returns {@link cosineWithMinLrSchedule} with steps counted from 1, so that warmup starts above 0. If `warmupLrRate`
 * is set, warmup starts at that ratio of the base rate.
 */
function cosineWarmupWithMinLrSchedule(
  options: CosineOptions & FloorOptions & { readonly warmupLrRate?: number },
  inputs: ScheduleInputs,
): Schedule {
  const warmup = countWarmupSteps(options.warmupSteps, inputs);
  const floor = floorOf(options, inputs);
  const { warmupLrRate, numCycles } = options;
  return (step) => {
    if (step >= warmup) return raised(wave(numCycles, progressAfterWarmup(step + 1, warmup, inputs.totalSteps)), floor);
    return warmupLrRate === undefined
      ? (step + 1) / Math.max(1, warmup)
      : warmupLrRate + ((1 - warmupLrRate) * step) / Math.max(1, warmup - 1);
  };
}

const numCycles = {
  type: 'number',
  exclusiveMinimum: 0,
  default: 0.5,
  description: 'The number of cosine periods in the run; 0.5 decreases once from the base rate.',
} as const;
const floors = {
  minLr: { type: 'number', minimum: 0, description: 'The minimum learning rate, as an absolute value.' },
  minLrRate: {
    type: 'number',
    minimum: 0,
    maximum: 1,
    description: 'The minimum learning rate, as a ratio of the base rate.',
  },
} as const;
const base = { type: 'object', additionalProperties: false, required: ['warmupSteps', 'numCycles'] } as const;
/** Exactly one of the two minimum rates is required. */
const oneFloor = { oneOf: [{ required: ['minLr'] }, { required: ['minLrRate'] }] } as const;

export const cosine = definePlugin({
  apiVersion: 2,
  kind: 'schedule',
  name: 'cosine',
  description: 'Decreases to 0 along a cosine.',
  configSchema: { ...base, properties: { warmupSteps, numCycles } } as const,
  create: (options) => (inputs: ScheduleInputs) => cosineSchedule(options, inputs),
});

export const cosineWithRestarts = definePlugin({
  apiVersion: 2,
  kind: 'schedule',
  name: 'cosine_with_restarts',
  description: 'Decreases along a cosine several times, with a restart at the base rate each time.',
  configSchema: {
    ...base,
    properties: {
      warmupSteps,
      numCycles: { ...numCycles, default: 1, description: 'The number of cosines in the run.' },
    },
  } as const,
  create: (options) => (inputs: ScheduleInputs) => cosineWithRestartsSchedule(options, inputs),
});

export const cosineWithMinLr = definePlugin({
  apiVersion: 2,
  kind: 'schedule',
  name: 'cosine_with_min_lr',
  description: 'Decreases to a minimum rate along a cosine.',
  configSchema: { ...base, ...oneFloor, properties: { warmupSteps, numCycles, ...floors } } as const,
  create: (options: CosineOptions & FloorOptions) => (inputs: ScheduleInputs) =>
    cosineWithMinLrSchedule(options, inputs),
});

export const cosineWarmupWithMinLr = definePlugin({
  apiVersion: 2,
  kind: 'schedule',
  name: 'cosine_warmup_with_min_lr',
  description: 'Decreases to a minimum rate along a cosine; warmup starts above 0.',
  configSchema: {
    ...base,
    ...oneFloor,
    properties: {
      warmupSteps,
      numCycles,
      ...floors,
      warmupLrRate: {
        type: 'number',
        minimum: 0,
        maximum: 1,
        description: 'The learning rate at the start of warmup, as a ratio of the base rate.',
      },
    },
  } as const,
  create: (options: CosineOptions & FloorOptions & { readonly warmupLrRate?: number }) => (inputs: ScheduleInputs) =>
    cosineWarmupWithMinLrSchedule(options, inputs),
});
