import { loadCheckpoint, saveCheckpoint } from './checkpoint.js';
import { cleanCheckpoints, pruneCheckpoints } from './folders.js';
import { abandonAfter, continueFrom } from './lineage.js';
import { findCheckpoint } from './resume.js';
import type { CheckpointStore } from './store.js';

/**
 * Stores checkpoints as folders `checkpoint-<step>` in the folder of the run. Not in `store.ts`, because an import of
 * the package loads the service token there without the code that reads and writes checkpoints.
 */
export const folderCheckpoints: CheckpointStore = {
  clean: cleanCheckpoints,
  find: findCheckpoint,
  load: loadCheckpoint,
  continueFrom,
  save: saveCheckpoint,
  abandonAfter,
  prune: pruneCheckpoints,
};
