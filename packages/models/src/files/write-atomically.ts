export { temporaryName, writeAtomically, writeFully } from '@whetstone/core/files';
