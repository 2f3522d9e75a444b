import type { Schedule } from '../contract/optimizer.js';
import { definePlugin, type ScheduleInputs } from '../contract/plugin.js';
import { countWarmupSteps, warmupSteps } from './warmup.js';

type Shape = 'linear' | 'cosine' | '1-sqrt';

interface WarmupStableDecayOptions {
  readonly warmupSteps: number;
  readonly numDecaySteps: number;
  readonly warmupType: Shape;
  readonly decayType: Shape;
  /** The minimum rate, as a ratio of the base rate. */
  readonly minLrRatio: number;
  readonly numCycles: number;
}

/**
 * Returns a schedule with warmup, a constant phase, and a decay over the last `numDecaySteps` (Hu et al., 2024,
 * MiniCPM).
 */
function warmupStableDecaySchedule(options: WarmupStableDecayOptions, inputs: ScheduleInputs): Schedule {
  const { numDecaySteps, minLrRatio, numCycles } = options;
  const warmup = countWarmupSteps(options.warmupSteps, inputs);
  const decayStart = inputs.totalSteps - numDecaySteps;
  const raised = (factor: number): number => Math.max(0, factor * (1 - minLrRatio) + minLrRatio);
  return (step) => {
    if (step < warmup) return raised(rise(options.warmupType, step / Math.max(1, warmup)));
    if (step < decayStart) return 1;
    if (step < Math.max(decayStart, warmup) + numDecaySteps)
      return raised(fall(options.decayType, (step - decayStart) / Math.max(1, numDecaySteps), numCycles));
    return minLrRatio;
  };
}

/** Returns the factor during warmup, from 0 to 1. */
function rise(shape: Shape, progress: number): number {
  if (shape === 'linear') return progress;
  return shape === 'cosine' ? 0.5 * (1 - Math.cos(Math.PI * progress)) : 1 - Math.sqrt(1 - progress);
}

/** Returns the factor during decay, from 1 to 0. */
function fall(shape: Shape, progress: number, cycles: number): number {
  if (shape === 'linear') return 1 - progress;
  return shape === 'cosine' ? 0.5 * (1 + Math.cos(Math.PI * cycles * 2 * progress)) : 1 - Math.sqrt(progress);
}

const shapeOption = (value: Shape, description: string) =>
  ({ enum: ['linear', 'cosine', '1-sqrt'], default: value, description }) as const;
const configSchema = {
  type: 'object',
  additionalProperties: false,
  properties: {
    warmupSteps,
    numDecaySteps: { type: 'integer', minimum: 1, description: 'The number of steps of the decay at the end.' },
    warmupType: shapeOption('linear', 'The shape of the increase during warmup.'),
    decayType: shapeOption('cosine', 'The shape of the decay.'),
    minLrRatio: {
      type: 'number',
      minimum: 0,
      maximum: 1,
      default: 0,
      description: 'The minimum learning rate, as a ratio of the base rate.',
    },
    numCycles: {
      type: 'number',
      exclusiveMinimum: 0,
      default: 0.5,
      description: 'The number of periods of a cosine decay; 0.5 decreases once.',
    },
  },
  required: ['warmupSteps', 'numDecaySteps', 'warmupType', 'decayType', 'minLrRatio', 'numCycles'],
} as const;

export const warmupStableDecay = definePlugin({
  apiVersion: 2,
  kind: 'schedule',
  name: 'warmup_stable_decay',
  description: 'Warmup, a constant phase, and a decay at the end.',
  configSchema,
  // Spreading reads all options now. A schedule without warmup never reads the type of it.
  create: (options) => {
    const all = { ...options };
    return (inputs: ScheduleInputs) => warmupStableDecaySchedule(all, inputs);
  },
});
