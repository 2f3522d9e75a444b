/** From raw conversations to batches. */
import { conversationsPlugin } from './sources/plugin.js';

export { createBatchSource, createBatchSourceFactory } from './batching/batch-source.js';
export type { BatchSourceInputs, BatchSourceSummary, PreparedBatchSource } from './batching/batch-source.js';
export { defaultBatchOptions } from './batching/options.js';
export type { BatchOptions } from './batching/options.js';
export { SAMPLING_STRATEGIES } from './batching/order.js';
export type { SamplingStrategy } from './batching/order.js';
export { TRUNCATION_MODES } from './examples/truncate.js';
export type { TruncationMode } from './examples/truncate.js';
export { LAYOUT_NAMES } from './layouts/index.js';
export type { LayoutName } from './layouts/index.js';
export { createConversationSource } from './sources/conversations.js';
export type { ConversationSourceOptions } from './sources/conversations.js';
export { checkUnreadable } from './sources/unreadable.js';

/** Every plugin of this package. */
export const dataPlugins = [conversationsPlugin] as const;
