/**
 * The built-in callbacks and loggers.
 *
 * @module @whetstone/plugins
 */
import { plugins } from './plugins.js';

export { consoleLog } from './console-log.js';
export { earlyStopping } from './early-stopping.js';
export { gradientClipping } from './gradient-clipping/plugin.js';
export { metricsJsonl } from './metrics-jsonl.js';
export { nanGuard } from './nan-guard.js';
export { repetitionRate } from './repetition-penalty/candidates.js';
export { repetitionPenalty } from './repetition-penalty/plugin.js';
export { tensorBoard } from './tensorboard/tensorboard.js';
export { plugins };
export default plugins;
