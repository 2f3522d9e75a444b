import { createRandom } from '@whetstone/core/random';

/**
 * A uniform random sample of the added values, whose number need not be known (reservoir sampling). It is deterministic
 * for the same values in the same order.
 */
export interface Reservoir<T> {
  readonly sample: readonly T[];
  add(value: T): void;
}

export function createReservoir<T>(size: number, purpose: string, seed = 0): Reservoir<T> {
  const sample: T[] = [];
  const random = createRandom(seed, purpose);
  let seen = 0;
  return {
    sample,
    add(value) {
      seen++;
      const index = sample.length < size ? sample.length : random.integer(seen);
      if (index < size) sample[index] = value;
    },
  };
}
