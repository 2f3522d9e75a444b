import type { Tensor, Variable } from '@tensorflow/tfjs-core';
import type { SavedState } from './strategy.js';

/** What an optimizer is told about one update. */
export interface OptimizerStep {
  /** 1 for the first update. */
  readonly update: number;
  readonly learningRate: number;
  /** Factor of the learning rate for the parameter; 1 for most. */
  learningRateScale(name: string): number;
  /** Whether weight decay applies to the parameter (not to biases and norms). */
  decays(name: string): boolean;
}

/**
 * Updates parameters in place (`variable.assign`) from gradients. State is keyed by parameter name, never by position.
 */
export interface Optimizer {
  /**
   * Makes the state that `apply` is going to need for these parameters and does not have yet; true where it made some.
   * Called before the gradients are computed: what stays lies beside the weights then and not scattered among what a
   * step needs, and a first update is the same graph as all later ones.
   */
  prepare?(parameters: ReadonlyMap<string, Variable>): boolean;
  /** Updates the parameters by their gradients. */
  apply(parameters: ReadonlyMap<string, Variable>, gradients: ReadonlyMap<string, Tensor>, step: OptimizerStep): void;
  /** Returns the state that a checkpoint keeps, keyed by parameter name. */
  saveState(): SavedState;
  /** Restores what `saveState` returned. */
  loadState(state: SavedState): void;
  /** Frees the state. */
  dispose(): void;
}

/** Factor of the base learning rate at `step` updates done, 0-based. Pure. */
export type Schedule = (step: number) => number;
