/**
 * Returns a linear congruential generator of test data and benchmark data: each call returns a number in [0, 1). Runs
 * draw their random numbers from `core/random` instead.
 */
export function testRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}
