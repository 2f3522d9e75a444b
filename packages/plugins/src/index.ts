/** The built-in callbacks and loggers. */
import { plugins } from './plugins.js';

export { consoleLog, createConsoleLog, formatSeconds, formatStep } from './console-log.js';
export { createEarlyStopping, earlyStopping, type EarlyStoppingOptions } from './early-stopping.js';
export { createGradientClipping, type GradientClippingOptions } from './gradient-clipping/gradient-clipping.js';
export { gradientClipping } from './gradient-clipping/plugin.js';
export { createMetricsLog, metricsJsonl } from './metrics-jsonl.js';
export { createNanGuard, nanGuard, type NanGuardOptions } from './nan-guard.js';
export { repetitionRate } from './repetition-penalty/candidates.js';
export { repetitionPenalty } from './repetition-penalty/plugin.js';
export { createRepetitionPenalty, type RepetitionPenaltyOptions } from './repetition-penalty/repetition-penalty.js';
export { createTensorBoardLog, tensorBoard } from './tensorboard/tensorboard.js';
export { plugins };
export default plugins;
