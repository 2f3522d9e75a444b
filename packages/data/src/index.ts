/** From raw conversations to batches. */
export { createBatchSource } from './batching/batch-source.js';
export type { BatchSourceInputs, PreparedBatchSource } from './batching/batch-source.js';
export { createBatchSourceFactory } from './batching/factory.js';
export type { BatchSourceFactoryOptions } from './batching/factory.js';
export { describeSummary } from './batching/describe.js';
export type { BatchSourceSummary } from './batching/summary.js';
export { collate } from './batching/collate.js';
export type { CollateOptions } from './batching/collate.js';
export { defaultBatchOptions } from './batching/options.js';
export type { BatchOptions } from './batching/options.js';
export { SAMPLING_STRATEGIES } from './batching/order.js';
export type { SamplingStrategy } from './batching/order.js';
export { tableOfRows } from './batching/rows.js';
export type { RowTable } from './batching/rows.js';
export { createTokenStore } from './batching/token-store.js';
export type { TokenStore } from './batching/token-store.js';
export { createExampleMaker } from './examples/make-examples.js';
export {
  LAYOUT_NAMES,
  PERSONAL_DATA_KINDS,
  TRUNCATION_MODES,
  type LayoutName,
  type TruncationMode,
} from './choices.js';
export { PACKING_STRATEGIES, pack } from './packing/pack.js';
export type { PackingStrategy } from './packing/pack.js';
export type { PackedRows, Piece } from './packing/pieces.js';
export { checkSupervision, supervisionProblems, supervisionWarnings } from './proof/check.js';
export { formatInspection, inspectConversation } from './proof/inspect.js';
export type { InspectedStretch, Inspection } from './proof/inspect.js';
export type { SupervisionFindings, TurnFinding } from './proof/observe.js';
export { createConversationSource } from './sources/conversations.js';
export type { ConversationSourceOptions } from './sources/conversations.js';
export { createMixtureSource } from './sources/mixture.js';
export { createParaphraseTransform, createSynonymTransform, createTurnTransform } from './augment/transforms.js';
export { checkUnreadable, judgeUnreadable } from './sources/unreadable.js';

export * from './report/index.js';
export * from './transforms/index.js';
export { cleanRows } from './parallel/clean-rows.js';
export { describeProof, proveSupervision } from './proof/prove.js';
export type { SupervisionProof } from './proof/prove.js';
export { rowOf } from './versions/row-of.js';
export { threadsFor } from './parallel/pass.js';
export type { ReadingProgress, ThreadOptions } from './parallel/pass.js';
export { progressLine } from './batching/progress-lines.js';
export { diffData } from './versions/diff.js';
export type { DataDiff } from './versions/diff.js';
export { createManifest, DATA_MANIFEST_VERSION, diffManifests } from './versions/manifest.js';
export type { DataManifest, ManifestChange } from './versions/manifest.js';
export { dataPlugins } from './plugins.js';
