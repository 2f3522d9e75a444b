/**
 * Metrics for replies and references, as functions and as plugins.
 *
 * @module @whetstone/evaluation
 */
export { bleu } from './metrics/bleu.js';
export { chrf } from './metrics/chrf.js';
export { distinct, repetition } from './metrics/diversity.js';
export { exactMatch } from './metrics/exact-match.js';
export { perplexity } from './metrics/perplexity.js';
export { rouge } from './metrics/rouge.js';
export { metrics } from './plugins.js';
export * from './statistics/index.js';
