/** Writes checkpoints atomically, verifies them before use, and restores them exactly. */
export type { CheckpointSources } from './checkpoint.js';
export { checkpointFolder, listCheckpoints, writeFolder } from './folders.js';
export { verifyCheckpoint, writeJson } from './manifest.js';
export { initialRunState, type LogEntry, type RunState } from './run-state.js';
export { folderCheckpoints } from './folder-checkpoints.js';
export { CHECKPOINT_STORE } from './store.js';
export { copyCompanionFiles, copyTemplate, readTrained, writeCompanions, writeModel, writeTrained } from './weights.js';
