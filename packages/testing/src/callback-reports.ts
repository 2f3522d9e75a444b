import type { Control, EvaluationReport, StepReport } from '@whetstone/core/contract';

/** A control that records what a callback asks for, in order. */
export interface RecordedControl extends Control {
  /** Each request as its name, with its reason if it has one: `stop: the loss rose`. */
  readonly asked: string[];
  /** The learning rates that were set. */
  readonly learningRates: number[];
  /** The number of rollbacks that were requested. */
  rollbacks: number;
}

/** Returns a control that only records what it is asked for. */
export function recordControl(): RecordedControl {
  const asked: string[] = [];
  const control: RecordedControl = {
    asked,
    learningRates: [],
    rollbacks: 0,
    stop: (reason) => void asked.push(`stop: ${reason}`),
    evaluate: () => void asked.push('evaluate'),
    save: () => void asked.push('save'),
    skipUpdate: (reason) => void asked.push(`skipUpdate: ${reason}`),
    markBest: () => void asked.push('markBest'),
    setLearningRate: (value, reason) => {
      asked.push(`setLearningRate: ${value}, ${reason}`);
      control.learningRates.push(value);
    },
    rollback: (reason) => {
      asked.push(`rollback: ${reason}`);
      control.rollbacks++;
    },
  };
  return control;
}

/** Returns a step's report with a loss that falls step by step, and with the given changes. */
export function stepReport(step: number, changes: Partial<StepReport> = {}): StepReport {
  return {
    step,
    totalSteps: 20,
    epoch: step / 20,
    loss: 3 - 0.05 * step,
    learningRate: 1e-3,
    microbatches: 1,
    samples: 4,
    tokens: 40,
    supervisedTokens: 20,
    seconds: 0.1,
    updated: true,
    metrics: {},
    ...changes,
  };
}

/** Returns an evaluation's report with a loss of 3, and with the given changes. */
export function evaluationReport(step: number, changes: Partial<EvaluationReport> = {}): EvaluationReport {
  return {
    step,
    epoch: step / 20,
    loss: 3,
    perplexity: Math.exp(3),
    supervisedTokens: 20,
    samples: 4,
    seconds: 0.1,
    metrics: {},
    ...changes,
  };
}
