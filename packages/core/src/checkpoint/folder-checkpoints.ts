import { loadCheckpoint, saveCheckpoint } from './checkpoint.js';
import { pruneCheckpoints, removePartial } from './folders.js';
import { findCheckpoint } from './resume.js';
import type { CheckpointStore } from './store.js';

/** Folders `checkpoint-<step>` in the folder of the run. */
export const folderCheckpoints: CheckpointStore = {
  clean: removePartial,
  find: findCheckpoint,
  load: loadCheckpoint,
  save: saveCheckpoint,
  prune: pruneCheckpoints,
};
