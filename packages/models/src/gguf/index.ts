export { importGguf, type ImportDtype, type ImportOptions, type ImportProgress, type ImportReport } from './import-gguf.js';
