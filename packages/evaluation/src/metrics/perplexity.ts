/**
 * exp(mean of the losses of all tokens), natural logarithm: each token counts once, however the sequences fall. NaN
 * where there is none.
 */
export function perplexity(tokenLosses: readonly (readonly number[])[]): number {
  const losses = tokenLosses.flat();
  return Math.exp(losses.reduce((sum, loss) => sum + loss, 0) / losses.length);
}
