/**
 * Metrics for replies and references, as functions and as plugins.
 *
 * @module @whetstone/evaluation
 */
export { answerAccuracy } from './metrics/answer.js';
export { bleu } from './metrics/bleu.js';
export { chrf } from './metrics/chrf.js';
export { classificationScores } from './metrics/classification.js';
export { distinct, repetition } from './metrics/diversity.js';
export { exactMatch } from './metrics/exact-match.js';
export { passAtK } from './metrics/pass-at-k.js';
export { perplexity } from './metrics/perplexity.js';
export { rouge } from './metrics/rouge.js';
export { selfBleu } from './metrics/self-bleu.js';
export { ter } from './metrics/ter.js';
export { tokenF1 } from './metrics/token-f1.js';
export { metrics } from './plugins.js';
export * from './statistics/index.js';
