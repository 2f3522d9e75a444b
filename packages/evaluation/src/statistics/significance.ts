/**
 * Returns the two-sided p-value of a sign test: the probability of counts at least as uneven if a win and a loss were
 * equally likely. Ties are left out. The exact binomial test of `scipy.stats.binomtest`.
 *
 * @param wins samples on which the second model is better
 * @param losses samples on which the first model is better
 */
export function signTest(wins: number, losses: number): number {
  const count = wins + losses;
  const fewer = Math.min(wins, losses);
  // The binomial probabilities relative to the largest one, from the middle down. Those above it are the same.
  let [weight, half, tail] = [1, 0, 0];
  for (let k = Math.floor(count / 2); k >= 0; k--) {
    half += weight;
    if (k <= fewer) tail += weight;
    weight *= k / (count - k + 1);
  }
  const all = count % 2 === 0 ? 2 * half - 1 : 2 * half;
  return Math.min(1, (2 * tail) / all);
}

/** The result of {@link mcNemarTest}. */
interface McNemar {
  /** Samples that only the first model answers correctly. */
  readonly onlyFirst: number;
  /** Samples that only the second model answers correctly. */
  readonly onlySecond: number;
  readonly pValue: number;
}

/**
 * Compares two models whose answers are right or wrong on the same samples (McNemar 1947), by the exact binomial test
 * of the samples on which they differ.
 *
 * @param first whether the first model is right, for each sample
 * @param second whether the second model is right, in the same order
 * @throws `RangeError` if the numbers of samples differ
 */
export function mcNemarTest(first: readonly boolean[], second: readonly boolean[]): McNemar {
  if (first.length !== second.length)
    throw new RangeError(`Both models need the same samples: ${first.length} and ${second.length} were given.`);
  const onlyFirst = first.filter((right, index) => right && second[index] === false).length;
  const onlySecond = second.filter((right, index) => right && first[index] === false).length;
  return { onlyFirst, onlySecond, pValue: signTest(onlySecond, onlyFirst) };
}
