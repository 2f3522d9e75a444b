/** Reads and writes files, and converts errors of the file system to errors of Whetstone. */
export { fileError, uncaughtFileError, withWriteErrors, writeError } from './errors.js';
export { createFolderLock, leftLockIn, noLock, type FolderLock, type LeftLock } from './folder-lock.js';
export {
  changedFiles,
  isManifest,
  MANIFEST_FILE,
  verifyResult,
  writeManifest,
  writeResultManifest,
  type Manifest,
} from './manifest.js';
export { ADDITIONAL_TEMPLATES, checkCompanions, checkOwnFile, copyCompanions } from './model-folder.js';
export { continueWithoutOutput, exitOnOutputError } from './output-streams.js';
export { exists, isFile, namesIn, statOf } from './present.js';
export { checkFormatVersion, hashFile, readJsonObject } from './read.js';
export { checkRegular, openRegular, readBytesSync, readText, readTextIfPresent, readTextSync } from './regular.js';
export { move, moveSync, remove } from './rename.js';
export { listedStopTokens, stopTokensNote, stopTokensOf } from './stop-tokens.js';
export { isWithin } from './within.js';
export { checkWritable, checkWritableFile, cleanFolder, replacedFolders, writeFolder } from './write-folder.js';
export {
  makeFolder,
  removeStale,
  syncFolder,
  temporaryName,
  writeAtomically,
  writeFully,
  writeFullySync,
  writeText,
} from './write.js';
