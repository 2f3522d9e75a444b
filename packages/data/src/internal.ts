/** Further exports for the command-line tool and the benchmarks. They may change in any release. */
export type { BatchOptions } from './batching/options.js';
export { damagedStores } from './batching/cache.js';
export { progressLine } from './batching/progress-lines.js';
export { createExampleMaker } from './examples/make-examples.js';
export { cleanRows } from './parallel/clean-rows.js';
export { threadsFor, type ReadingProgress, type ThreadOptions } from './parallel/pass.js';
export { formatInspection, inspectConversation } from './proof/inspect.js';
export { describeProof, proveSupervision } from './proof/prove.js';
export { analyseData, type AnalyseInputs } from './report/analyse.js';
export { checkGate, enforceGate, readGate } from './report/gate.js';
export { reportToHtml } from './report/html.js';
export { rowOf } from './versions/row-of.js';
export { checkUnreadable, enforceUnreadableLimit } from './sources/unreadable.js';
export { unusedMappings } from './sources/unused-mappings.js';
export { findLeaks, leakageError, type LeakFindings } from './transforms/duplicates/leakage.js';
export { orderWarnings } from './transforms/order.js';
export { diffData, type DataDiff, type RepeatedOrigin } from './versions/diff.js';
export { DATA_MANIFEST_VERSION, diffManifests, type DataManifest } from './versions/manifest.js';
