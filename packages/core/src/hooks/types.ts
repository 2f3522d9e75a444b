import type { Tensor } from '@tensorflow/tfjs-core';
import type { Control, HookName, hookTable, HookSignatures, Json } from '../contract/index.js';

type WithoutControl<A extends readonly unknown[]> = A extends readonly [...infer Rest, Control] ? Rest : A;

type Result<K extends HookName> = (typeof hookTable)[K]['kind'] extends 'observe'
  ? Promise<void>
  : ReturnType<HookSignatures[K]>;

/** One method per hook, with the name of the hook. The runner adds the `control` argument. */
export type HookMethods = {
  readonly [K in HookName]: (...values: WithoutControl<Parameters<HookSignatures[K]>>) => Result<K>;
};

/** The learning rate that a callback set. */
export type LearningRateRequest = { readonly value: number; readonly reason: string };

/** The requests of the callbacks of one process, as plain data for other processes. */
export type PendingRequests = {
  readonly stop: string | null;
  readonly evaluate: boolean;
  readonly save: boolean;
  readonly markBest: boolean;
  readonly learningRate: LearningRateRequest | null;
  readonly rollback: string | null;
};

/** The requests that callbacks made through `control`. The training loop reads them between two steps. */
export interface ControlRequests {
  /** The first reason for stopping that a callback gave, or null. */
  readonly stopReason: string | null;
  /** The reason of a requested rollback, or null. */
  readonly rollbackReason: string | null;
  /** Returns whether an evaluation was requested since the last call. */
  takeEvaluate(): boolean;
  /** Returns whether a checkpoint was requested since the last call. */
  takeSave(): boolean;
  /** Returns whether the weights were marked as best since the last call. */
  takeMarkBest(): boolean;
  /** Returns the learning rate that was set since the last call, or null. */
  takeLearningRate(): LearningRateRequest | null;
  /** Returns the reason to skip the update of the current step, or null, and clears it. */
  takeSkipUpdate(): string | null;
  /** Returns all requests, and keeps them. */
  pending(): PendingRequests;
  /** Returns all requests, and clears them. */
  takeAll(): PendingRequests;
  /** Adds requests. The first reason for stopping, the first learning rate and the first rollback count. */
  merge(requests: PendingRequests): void;
  /** Sets the reason for stopping, unless there is one. */
  mergeStop(reason: string | null): void;
}

/**
 * Calls the hooks of all callbacks: first `pre` hooks, then normal hooks in the order of the configuration, then `post`
 * hooks. `observe` hooks receive frozen data and are awaited in order; `transform` hooks pass their value to the next;
 * results of `add` hooks are summed.
 *
 * @throws `HOOK_FAILED` if a hook throws; a `WhetstoneError` keeps its own code. `details` holds `plugin`, `hook` and
 *   `step`, and `cause` is the original error
 */
export interface HookRunner extends HookMethods {
  /** The step number in errors. The training loop sets it before each step. */
  step: number;
  /**
   * Receives the term of each callback's `addLoss`, while the tape records it; undefined if the callback adds none. The
   * training loop sets it before the first step.
   */
  seeTerm: ((plugin: string, term: Tensor | undefined) => void) | null;
  readonly requests: ControlRequests;
  /** Whether a callback has `nonFinite: 'skip'`. */
  readonly skipsNonFinite: boolean;
  /** The callbacks that provide weights for evaluation. */
  readonly evaluationWeights: readonly { readonly plugin: string; weights(): ReadonlyMap<string, Tensor> }[];
  /** Whether a callback may mark the best weights. */
  readonly marksBest: boolean;
  /** Whether a callback has `rollsBack: true`. */
  readonly rollsBack: boolean;
  /** Returns whether a callback has this hook, so that work for an absent hook can be avoided. */
  has(hook: HookName): boolean;
  /**
   * Returns the states of all callbacks that have one, by plugin name and occurrence (`early-stopping`,
   * `early-stopping#2`).
   *
   * @throws `PLUGIN_FAILED` with the plugin's name if a `saveState` throws or rejects, or returns no JSON
   */
  saveState(): Promise<Json>;
  /** Restores the states that `saveState` returned. */
  loadState(state: Json): void;
  /** Disposes all callbacks. */
  dispose(): void;
}
