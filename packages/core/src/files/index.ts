/** Reads and writes files, and converts errors of the file system to errors of Whetstone. */
export { fileError } from './errors.js';
export { checkFormatVersion, hashFile, readJsonObject } from './read.js';
export { stopTokensNote, stopTokensOf } from './stop-tokens.js';
export { makeFolder, removeStale, temporaryName, writeAtomically, writeFully } from './write.js';
