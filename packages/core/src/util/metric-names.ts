/** Returns the name of a metric without the prefix `eval_` of transformers. */
export const plainMetric = (name: string): string => name.replace(/^eval_/, '');

/**
 * Returns whether lower values of a metric are better. Decided by the name, as transformers does: losses and
 * perplexities.
 */
export const lessIsBetter = (metric: string): boolean => /(loss|perplexity)$/i.test(metric);
