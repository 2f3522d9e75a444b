import { defineToken, type Token } from '../contract/tokens.js';
import type { CheckpointSources } from './checkpoint.js';
import type { RunState, TrainerStateFacts } from './run-state.js';

/**
 * Stores and restores the checkpoints of a run. Register another implementation for {@link CHECKPOINT_STORE} to store
 * them elsewhere, or to do additional work when one is written.
 */
export interface CheckpointStore {
  /** Repairs what a crash left in the run's folder: removes incomplete checkpoints, and completes moves. */
  clean(root: string): Promise<void>;
  /**
   * Returns the checkpoint to resume from: the requested one (a path), or the newest complete one (true). Returns null
   * if there is none.
   */
  find(requested: string | true, root: string | null, warn: (message: string) => void): Promise<string | null>;
  /** Restores a checkpoint into a run and returns the state of the run that wrote it. */
  load(checkpoint: string, sources: CheckpointSources, warn: (message: string) => void): Promise<RunState>;
  /**
   * Called when the run continues from a checkpoint, before its first step. Sets aside the checkpoints of the run's
   * folder that are not in the history of this one: they must not be found, pruned or deleted later.
   */
  continueFrom(checkpoint: string, root: string, warn: (message: string) => void): Promise<void>;
  /** Writes a checkpoint atomically and returns its folder. */
  save(
    root: string,
    sources: CheckpointSources,
    state: RunState,
    facts: Omit<TrainerStateFacts, 'callbacks'>,
  ): Promise<string>;
  /**
   * Called when the run was rolled back to `step`. Sets aside the checkpoints of later steps, like
   * {@link continueFrom}.
   */
  abandonAfter(root: string, step: number, warn: (message: string) => void): Promise<void>;
  /** Removes the oldest checkpoints until `limit` remain, but none of the protected steps. */
  prune(root: string, limit: number | null, protectedSteps: ReadonlySet<number>): Promise<void>;
}

/** Writes and reads the checkpoints of a run. */
export const CHECKPOINT_STORE: Token<CheckpointStore> = defineToken('CHECKPOINT_STORE');
