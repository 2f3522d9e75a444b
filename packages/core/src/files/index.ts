/** Writes files atomically, and converts errors of the file system to errors of Whetstone. */
export { fileError } from './file-errors.js';
export { checkFormatVersion } from './format-version.js';
export { makeFolder } from './make-folder.js';
export { readJsonObject } from './read-json.js';
export { removeStale, temporaryName } from './temporary-name.js';
export { writeAtomically, writeFully } from './write-atomically.js';
