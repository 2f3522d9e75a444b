/** The training engine: the step, the evaluation, and the loop. */
import '@whetstone/core/tfjs-gradients';

export { evaluate } from './evaluate.js';
export { anyNeeds, measureMetrics, type MeasuredSample } from './measure-metrics.js';
export type { Named } from './named.js';
export type { TrainRun } from './train-run.js';
export { supervisedPositions } from './supervised-positions.js';
export { trainStep, type StepOutcome, type StepServices } from './train-step.js';
export { planTraining, runTraining } from './train-loop.js';
