/** Metrics over replies and references, as functions and as plugins. */
export { chrf, type Pair } from './metrics/chrf.js';
export { distinct, repetition } from './metrics/diversity.js';
export { exactMatch } from './metrics/exact-match.js';
export { perplexity } from './metrics/perplexity.js';
export { chrfPlugin, distinctPlugin, exactMatchPlugin, metrics, repetitionPlugin } from './plugins.js';
