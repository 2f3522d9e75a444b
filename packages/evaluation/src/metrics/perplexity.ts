/**
 * Returns exp(mean loss of all tokens), for losses in nats. Each token counts once, independent of the sequences.
 * Returns NaN without tokens.
 */
export function perplexity(tokenLosses: readonly (readonly number[])[]): number {
  const losses = tokenLosses.flat();
  return Math.exp(losses.reduce((sum, loss) => sum + loss, 0) / losses.length);
}
