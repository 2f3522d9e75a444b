/** What is in a data set, as data and as a page to read. */
export { analyseData } from './analyse.js';
export type { AnalyseInputs } from './analyse.js';
export type { DataReport } from './data-report.js';
export { checkGate, enforceGate, readGate } from './gate.js';
export type { GateResult, QualityGate } from './gate.js';
export { reportToHtml } from './html.js';
export { scoreSample } from './score.js';
export type { SampleScore } from './score.js';
