import { testRandom } from '@whetstone/core/util';

/** Returns a generator of integers in [0, below) that repeats for a seed. */
export function seededIntegers(seed: number): (below: number) => number {
  const random = testRandom(seed);
  return (below) => Math.floor(random() * below);
}
