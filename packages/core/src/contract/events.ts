import type { RunInfo } from './callback.js';
import type { EvaluationReport, RunReport, StageInfo, StepReport } from './report.js';

/**
 * The events of a run with their arguments. Each is emitted after the callbacks' hooks for the same occasion. An error
 * that a listener throws is logged and does not affect the run.
 */
export interface TrainerEvents {
  /** A stage of a run with stages begins: its data and model are read next. */
  'stage:start': [StageInfo];
  'run:start': [RunInfo];
  step: [StepReport];
  evaluate: [EvaluationReport];
  save: [{ readonly step: number; readonly folder: string }];
  epoch: [{ readonly epoch: number }];
  'run:end': [RunReport];
  'run:error': [unknown];
  warning: [{ readonly message: string }];
}
