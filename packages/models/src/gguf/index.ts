export {
  importGguf,
  type ImportDtype,
  type ImportOptions,
  type ImportProgress,
  type ImportReport,
} from './import-gguf.js';
export { openGguf, type GgufFile } from './read-gguf.js';
export type { GgufHeader, GgufTensor, GgufValue } from './header.js';
