/**
 * Learning-rate schedules: pure functions of the number of updates, equal to those of transformers' `get_scheduler`.
 */
import type { Plugin } from '../contract/plugin.js';
import { constant, constantWithWarmup } from './constant.js';
import { cosine, cosineWarmupWithMinLr, cosineWithMinLr, cosineWithRestarts } from './cosine.js';
import { inverseSqrt } from './inverse-sqrt.js';
import { linear } from './linear.js';
import { polynomial } from './polynomial.js';
import { warmupStableDecay } from './warmup-stable-decay.js';

export const schedulePlugins: readonly Plugin<'schedule'>[] = [
  linear,
  cosine,
  constant,
  constantWithWarmup,
  cosineWithRestarts,
  cosineWithMinLr,
  cosineWarmupWithMinLr,
  polynomial,
  inverseSqrt,
  warmupStableDecay,
];
