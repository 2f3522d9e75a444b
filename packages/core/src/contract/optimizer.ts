import type { Tensor, Variable } from '@tensorflow/tfjs-core';
import type { RunOutline, UnusedOption } from './run-outline.js';
import type { SavedState } from './strategy.js';

/** The arguments of one update that are not tensors. */
export interface OptimizerStep {
  /** The number of this update: 1 for the first. */
  readonly update: number;
  /** The learning rate of this update: the base rate times the factor of the schedule. */
  readonly learningRate: number;
  /** Returns the factor of the learning rate for a parameter; 1 for most parameters. */
  learningRateScale(name: string): number;
  /** Returns whether weight decay applies to a parameter: false for biases and norms. */
  decays(name: string): boolean;
}

/**
 * Updates parameters in place (`variable.assign`) from their gradients. The state is keyed by parameter name, never by
 * position.
 */
export interface Optimizer {
  /**
   * Creates the state that `apply` needs for these parameters and that does not exist yet. Returns whether it created
   * any. Called before the gradients are computed, so that the state is allocated next to the weights instead of
   * between temporary tensors. The first update then has the same graph as all later ones.
   */
  prepare?(parameters: ReadonlyMap<string, Variable>): boolean;
  /** Updates every parameter that has a gradient. */
  apply(parameters: ReadonlyMap<string, Variable>, gradients: ReadonlyMap<string, Tensor>, step: OptimizerStep): void;
  /**
   * Returns the weights with which the model is evaluated, sampled and exported, if they differ from those that `apply`
   * updates (schedule-free optimizers). By parameter name; parameters without an entry keep their training weights.
   * Empty before the first update. The optimizer owns the tensors: they must exist until the next update.
   */
  evaluationWeights?(): ReadonlyMap<string, Tensor>;
  /**
   * Returns the number of values in the state of an optimizer that has updated these parameters, so that the size of a
   * checkpoint is known before the first step. Without this method, it is taken to be twice the number of parameters.
   */
  stateValues?(parameters: ReadonlyMap<string, Variable>): number;
  /**
   * Returns the options that change nothing in this run: the run warns about each. Their paths start from the options
   * of the optimizer. Called once, when the data is known and before the first step.
   */
  checkRun?(run: RunOutline): readonly UnusedOption[];
  /** Returns the state to store in a checkpoint, keyed by parameter name. */
  saveState(): SavedState;
  /**
   * Replaces the state by one that `saveState` returned. Called when a run resumes, and when it is rolled back to an
   * earlier step: state of parameters that are not in `state` must be removed.
   */
  loadState(state: SavedState): void;
  /** Disposes the state. */
  dispose(): void;
}

/** Returns the factor of the base learning rate after `step` updates: `step` is 0 for the first update. Pure. */
export type Schedule = (step: number) => number;
