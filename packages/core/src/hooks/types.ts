import type { Control, HookName, hookTable, HookSignatures, Json } from '../contract/index.js';

type WithoutControl<A extends readonly unknown[]> = A extends readonly [...infer Rest, Control] ? Rest : A;

type Result<K extends HookName> = (typeof hookTable)[K]['kind'] extends 'observe'
  ? Promise<void>
  : ReturnType<HookSignatures[K]>;

/** One method a hook, named as the hook; the runner supplies `control` itself. */
export type HookMethods = {
  readonly [K in HookName]: (...values: WithoutControl<Parameters<HookSignatures[K]>>) => Result<K>;
};

/** What callbacks asked for through `control`, for the loop to grant at the next boundary between steps. */
export interface ControlRequests {
  /** The first reason that anyone gave; it stays for the rest of the run. */
  readonly stopReason: string | null;
  /** Each `take…` answers whether it was asked for since the last call, and forgets it. */
  takeEvaluate(): boolean;
  takeSave(): boolean;
  takeMarkBest(): boolean;
  /** What callbacks of another process asked for, to be granted here too. */
  mergeRequests(requests: {
    readonly stopReason?: string | null;
    readonly evaluate?: boolean;
    readonly save?: boolean;
    readonly markBest?: boolean;
  }): void;
  /** The reason to leave out the update of the step at work, or null. */
  takeSkipUpdate(): string | null;
}

/**
 * Calls the hooks of all callbacks: `pre`, then configuration order, then `post`.
 * `observe` hooks are awaited one after another; `transform` hooks hand their value on; `add` hooks are summed.
 * Every failure becomes `HOOK_FAILED {plugin, hook, step}` with its cause kept.
 */
export interface HookRunner extends HookMethods {
  /** The step that errors name: the loop sets it before each step. */
  step: number;
  readonly requests: ControlRequests;
  /** Whether any callback asks to skip the update of a step whose loss or gradients are not finite. */
  readonly skipsNonFinite: boolean;
  /** Whether any callback has this hook: work done only for a hook can be left out. */
  has(hook: HookName): boolean;
  /**
   * States of all callbacks that have one, keyed by plugin name and occurrence (`early-stopping`, `early-stopping#2`).
   */
  saveState(): Json;
  loadState(state: Json): void;
  dispose(): void;
}
