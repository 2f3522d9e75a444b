/** Writes checkpoints atomically, verifies them before use, and restores them exactly. */
export { lessIsBetter, plainMetric } from './compare-config.js';
export { hashBase } from '../safetensors/index.js';
export { sizesOf } from './batch-sizes.js';
export type { CheckpointSources } from './checkpoint.js';
export { abandon, checkpointFolder, cleanCheckpoints, isAbandoned, listCheckpoints } from './folders.js';
export { forgetError, readLastError, recordError } from './last-error.js';
export { withNewAttempt } from './lineage.js';
export { verifyCheckpoint, writeJson } from './manifest.js';
export {
  assignFromHost,
  assignStored,
  copyToDevice,
  copyToHost,
  withTensors,
  type HostTensors,
} from './host-tensors.js';
export {
  createRestorePoint,
  returnToRestorePoint,
  type RestorePoint,
  type SavedRestorePoint,
} from './restore-point.js';
export { initialRunState, type LeftOutBatches, type LogEntry, type OwedWork, type RunState } from './run-state.js';
export { folderCheckpoints } from './folder-checkpoints.js';
export { CHECKPOINT_STORE } from './store.js';
export {
  copyCompanionFiles,
  copyTemplate,
  readBest,
  writeCompanions,
  writeModel,
  writeOrigin,
  writeStopTokens,
  writeTrained,
  type AdapterOrigin,
} from './weights.js';
