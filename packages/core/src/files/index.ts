/** Files that are written whole or not at all, and errors of the file system as ours. */
export { fileError } from './file-errors.js';
export { checkFormatVersion } from './format-version.js';
export { makeFolder } from './make-folder.js';
export { readJsonObject } from './read-json.js';
export { removeStale, temporaryName } from './temporary-name.js';
export { writeAtomically, writeFully } from './write-atomically.js';
