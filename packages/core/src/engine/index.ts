/** The engine: one step, evaluation, the loop. */
export { evaluate, type EvaluationParts } from './evaluate.js';
export { measureReplies, replyTasks, type ReplyMetrics, type ReplyPair, type ReplyTask } from './reply-metrics.js';
export type { Named } from './named.js';
export type { RunTraining, TrainRun } from './run-services.js';
export { supervisedPositions } from './supervised-positions.js';
export { trainStep, type StepOutcome, type StepParts } from './train-step.js';
export { runTraining } from './train-loop.js';
