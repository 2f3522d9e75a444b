/** Files that are written whole or not at all, and errors of the file system as ours. */
export { fileError } from './file-errors.js';
export { temporaryName, writeAtomically, writeFully } from './write-atomically.js';
