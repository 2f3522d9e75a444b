/**
 * The built-in callbacks and loggers: names and options. Their implementations are loaded when a callback is created.
 */
import { consoleLog } from './console-log.js';
import { earlyStopping } from './early-stopping.js';
import { gradientClipping } from './gradient-clipping/plugin.js';
import { metricsJsonl } from './metrics-jsonl.js';
import { nanGuard } from './nan-guard.js';
import { repetitionPenalty } from './repetition-penalty/plugin.js';
import { tensorBoard } from './tensorboard/tensorboard.js';

/** All callbacks and loggers of this package, for a registry. */
export const plugins = [
  earlyStopping,
  gradientClipping,
  nanGuard,
  repetitionPenalty,
  metricsJsonl,
  consoleLog,
  tensorBoard,
];
