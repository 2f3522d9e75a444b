export { exportGguf, type ExportReport } from './export-gguf.js';
export type { ExportType } from './export-types.js';
export { importGguf, type ImportDtype, type ImportReport } from './import-gguf.js';
