import { createRandom } from '@whetstone/core/random';

/**
 * A fair sample of all that is added, however much that is: each has the same chance to stay. The same for the same
 * things in the same order.
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
      const place = sample.length < size ? sample.length : random.integer(seen);
      if (place < size) sample[place] = value;
    },
  };
}
