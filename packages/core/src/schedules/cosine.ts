import type { Schedule } from '../contract/optimizer.js';
import { definePlugin, type ScheduleInputs } from '../contract/plugin.js';
import { countWarmupSteps, progressAfterWarmup, warmupSteps, withWarmup } from './warmup.js';

export interface CosineOptions {
  readonly warmupSteps: number;
  /** Waves over the run; 0.5 falls once from 1 to 0. */
  readonly numCycles: number;
}

const wave = (cycles: number, progress: number): number => 0.5 * (1 + Math.cos(Math.PI * cycles * 2 * progress));
const raised = (factor: number, floor: number): number => Math.max(0, factor * (1 - floor) + floor);

/** Follows a cosine from 1 after warmup (Loshchilov & Hutter, 2017, without restarts). */
export function cosineSchedule({ numCycles, ...options }: CosineOptions, inputs: ScheduleInputs, floor = 0): Schedule {
  const warmup = countWarmupSteps(options.warmupSteps, inputs);
  return withWarmup(warmup, (step) =>
    raised(wave(numCycles, progressAfterWarmup(step, warmup, inputs.totalSteps)), floor),
  );
}

/** A cosine that starts anew `numCycles` times and ends at 0. */
function cosineWithRestartsSchedule({ numCycles, ...options }: CosineOptions, inputs: ScheduleInputs): Schedule {
  const warmup = countWarmupSteps(options.warmupSteps, inputs);
  return withWarmup(warmup, (step) => {
    const progress = progressAfterWarmup(step, warmup, inputs.totalSteps);
    return progress >= 1 ? 0 : Math.max(0, wave(0.5, (numCycles * progress) % 1));
  });
}

export interface FloorOptions {
  /** The least rate, absolute. */
  readonly minLr?: number;
  /** The least rate, as a ratio of the base rate. */
  readonly minLrRate?: number;
}

const floorOf = ({ minLr, minLrRate }: FloorOptions, { learningRate }: ScheduleInputs): number =>
  minLr === undefined ? (minLrRate ?? 0) : minLr / learningRate;

/** A cosine that ends at a least rate instead of 0. */
function cosineWithMinLrSchedule(options: CosineOptions & FloorOptions, inputs: ScheduleInputs): Schedule {
  return cosineSchedule(options, inputs, floorOf(options, inputs));
}

/**
 * As {@link cosineWithMinLrSchedule}, but counted from step 1: warmup starts above 0, at `warmupLrRate` where that is
 * given.
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
  description: 'Waves over the run; 0.5 falls once from the base rate.',
} as const;
const floors = {
  minLr: { type: 'number', minimum: 0, description: 'The least rate, absolute.' },
  minLrRate: { type: 'number', minimum: 0, maximum: 1, description: 'The least rate, as a ratio of the base rate.' },
} as const;
const base = { type: 'object', additionalProperties: false, required: ['warmupSteps', 'numCycles'] } as const;
/** One of the two floors, not both. */
const oneFloor = { oneOf: [{ required: ['minLr'] }, { required: ['minLrRate'] }] } as const;

export const cosine = definePlugin({
  apiVersion: 1,
  kind: 'schedule',
  name: 'cosine',
  description: 'Falls to 0 along a cosine.',
  configSchema: { ...base, properties: { warmupSteps, numCycles } } as const,
  create: (options) => (inputs: ScheduleInputs) => cosineSchedule(options, inputs),
});

export const cosineWithRestarts = definePlugin({
  apiVersion: 1,
  kind: 'schedule',
  name: 'cosine_with_restarts',
  description: 'Falls along a cosine several times, starting anew each time.',
  configSchema: { ...base, properties: { warmupSteps, numCycles: { ...numCycles, default: 1 } } } as const,
  create: (options) => (inputs: ScheduleInputs) => cosineWithRestartsSchedule(options, inputs),
});

export const cosineWithMinLr = definePlugin({
  apiVersion: 1,
  kind: 'schedule',
  name: 'cosine_with_min_lr',
  description: 'Falls to a least rate along a cosine.',
  configSchema: { ...base, ...oneFloor, properties: { warmupSteps, numCycles, ...floors } } as const,
  create: (options: CosineOptions & FloorOptions) => (inputs: ScheduleInputs) =>
    cosineWithMinLrSchedule(options, inputs),
});

export const cosineWarmupWithMinLr = definePlugin({
  apiVersion: 1,
  kind: 'schedule',
  name: 'cosine_warmup_with_min_lr',
  description: 'Falls to a least rate along a cosine; warmup starts above 0.',
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
        description: 'Where warmup starts, as a ratio of the base rate.',
      },
    },
  } as const,
  create: (options: CosineOptions & FloorOptions & { readonly warmupLrRate?: number }) => (inputs: ScheduleInputs) =>
    cosineWarmupWithMinLrSchedule(options, inputs),
});
