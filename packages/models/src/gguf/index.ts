export { importGguf, type ImportDtype, type ImportReport } from './import-gguf.js';
