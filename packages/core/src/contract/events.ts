import type { RunInfo } from './callback.js';
import type { EvaluationReport, RunReport, StepReport } from './report.js';

/** Events of a run: observe-only, emitted after the fact. A listener that throws is logged and harms no one. */
export interface TrainerEvents {
  'run:start': [RunInfo];
  step: [StepReport];
  evaluate: [EvaluationReport];
  save: [{ readonly step: number; readonly folder: string }];
  epoch: [{ readonly epoch: number }];
  'run:end': [RunReport];
  'run:error': [unknown];
  warning: [{ readonly message: string }];
}
