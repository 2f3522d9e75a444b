/** Metrics over replies and references, as functions and as plugins. */
export { bleu, type BleuTokenize } from './metrics/bleu.js';
export { chrf, type Pair } from './metrics/chrf.js';
export { distinct, repetition } from './metrics/diversity.js';
export { exactMatch } from './metrics/exact-match.js';
export { perplexity } from './metrics/perplexity.js';
export { rouge, ROUGE_KINDS, type RougeKind, type RougeScore, type RougeTokenize } from './metrics/rouge.js';
export {
  bleuPlugin,
  chrfPlugin,
  distinctPlugin,
  exactMatchPlugin,
  metrics,
  repetitionPlugin,
  rougePlugin,
} from './plugins.js';
