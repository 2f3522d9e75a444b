/** Checkpoints: written whole or not at all, proven before they are used, and exact. */
export { loadCheckpoint, saveCheckpoint, type CheckpointParts } from './checkpoint.js';
export {
  checkpointFolder,
  listCheckpoints,
  pruneCheckpoints,
  removePartial,
  writeFolder,
  type CheckpointFolder,
} from './folders.js';
export { proveWhole, writeJson } from './manifest.js';
export { findCheckpoint } from './resume.js';
export {
  initialRunState,
  type BestWeights,
  type LogEntry,
  type RunState,
  type TrainerStateFacts,
} from './run-state.js';
export { CHECKPOINT_STORE, folderCheckpoints, type CheckpointStore } from './store.js';
export { copyCompanionFiles, copyTemplate, readTrained, writeCompanions, writeModel, writeTrained } from './weights.js';
