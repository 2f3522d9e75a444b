/**
 * From raw conversations to batches: what applications use. Whetstone's own packages also import `./internal.js`.
 *
 * @module @whetstone/data
 */
export { createBatchSource } from './batching/batch-source.js';
export { pack } from './packing/pack.js';
export { dataPlugins } from './plugins.js';
export { createConversationSource } from './sources/conversations.js';
export { applyTransforms } from './transforms/apply.js';
export { createDeduplicateTransform } from './transforms/duplicates/transform.js';
export { createNormalizeTransform } from './transforms/normalize/transform.js';
export { createQualityTransform } from './transforms/quality/transform.js';
export { createRedactTransform } from './transforms/redact/transform.js';
