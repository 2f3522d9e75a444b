import { defineToken, type Token } from '../contract/tokens.js';
import type { CheckpointSources } from './checkpoint.js';
import type { RunState, TrainerStateFacts } from './run-state.js';

/**
 * Where checkpoints go and come from. Register another one for {@link CHECKPOINT_STORE} to keep them elsewhere, or to
 * do more when one is written.
 */
export interface CheckpointStore {
  /** Removes what a crash left half-written under the run's folder. */
  clean(root: string): Promise<void>;
  /** The checkpoint to go on from: the one at a path, or the newest whole one; null where there is none. */
  find(wanted: string | true, root: string | null, warn: (message: string) => void): Promise<string | null>;
  /** Puts a checkpoint back into a run and answers where that run stood. */
  load(checkpoint: string, parts: CheckpointSources, warn: (message: string) => void): Promise<RunState>;
  /** Writes a checkpoint, whole or not at all, and answers its folder. */
  save(
    root: string,
    parts: CheckpointSources,
    state: RunState,
    facts: Omit<TrainerStateFacts, 'callbacks'>,
  ): Promise<string>;
  /** Removes the oldest beyond `limit`, but none of the protected steps. */
  prune(root: string, limit: number | null, protectedSteps: ReadonlySet<number>): Promise<void>;
}

/** Writes and reads the checkpoints of a run. */
export const CHECKPOINT_STORE: Token<CheckpointStore> = defineToken('CHECKPOINT_STORE');
