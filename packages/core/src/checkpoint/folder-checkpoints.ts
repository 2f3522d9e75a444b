import { loadCheckpoint, saveCheckpoint } from './checkpoint.js';
import { discardCheckpoints, pruneCheckpoints, removePartial } from './folders.js';
import { findCheckpoint } from './resume.js';
import type { CheckpointStore } from './store.js';

/** Stores checkpoints as folders `checkpoint-<step>` in the run's folder. */
export const folderCheckpoints: CheckpointStore = {
  clean: removePartial,
  find: findCheckpoint,
  load: loadCheckpoint,
  save: saveCheckpoint,
  discardAfter: discardCheckpoints,
  prune: pruneCheckpoints,
};
