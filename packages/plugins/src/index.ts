/** The built-in callbacks and loggers. */
import { consoleLog } from './console-log.js';
import { earlyStopping } from './early-stopping.js';
import { gradientClipping } from './gradient-clipping.js';
import { metricsJsonl } from './metrics-jsonl.js';
import { nanGuard } from './nan-guard.js';
import { repetitionPenalty } from './repetition-penalty/repetition-penalty.js';
import { tensorBoard } from './tensorboard/tensorboard.js';

export { consoleLog, createConsoleLog, formatSeconds, formatStep } from './console-log.js';
export { createEarlyStopping, earlyStopping, type EarlyStoppingOptions } from './early-stopping.js';
export { createGradientClipping, gradientClipping, type GradientClippingOptions } from './gradient-clipping.js';
export { createMetricsLog, metricsJsonl } from './metrics-jsonl.js';
export { createNanGuard, nanGuard, type NanGuardOptions } from './nan-guard.js';
export { repetitionRate } from './repetition-penalty/candidates.js';
export {
  createRepetitionPenalty,
  repetitionPenalty,
  type RepetitionPenaltyOptions,
} from './repetition-penalty/repetition-penalty.js';
export { createTensorBoardLog, tensorBoard } from './tensorboard/tensorboard.js';

/** Every callback and logger of this package, for a registry. */
export const plugins = [
  earlyStopping,
  gradientClipping,
  nanGuard,
  repetitionPenalty,
  metricsJsonl,
  consoleLog,
  tensorBoard,
];
export default plugins;
