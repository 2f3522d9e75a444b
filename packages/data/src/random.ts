import { uniformFloat64 } from 'pure-rand/distribution/uniformFloat64';
import { uniformInt } from 'pure-rand/distribution/uniformInt';
import { xoroshiro128plus } from 'pure-rand/generator/xoroshiro128plus';

/** Random numbers that are the same on every platform for the same seed. */
export interface Random {
  /** A whole number from 0 up to, not including, `below`. */
  integer(below: number): number;
  /** A number from 0 up to, not including, 1. */
  fraction(): number;
}

/** Mixes a seed and the names of a purpose into 32 bits (FNV-1a), so that streams for different purposes are independent. */
function mixSeed(seed: number, purpose: readonly (string | number)[]): number {
  let hash = 0x811c9dc5;
  for (const unit of `${seed}|${purpose.join('|')}`) {
    hash = Math.imul(hash ^ (unit.codePointAt(0) ?? 0), 0x01000193);
  }
  return hash | 0;
}

/**
 * A stream of random numbers for one purpose (`'shuffle', epoch`), by xoroshiro128+. Streams of different purposes do not depend on one another,
 * so drawing more of one never changes the other.
 */
export function createRandom(seed: number, ...purpose: readonly (string | number)[]): Random {
  const generator = xoroshiro128plus(mixSeed(seed, purpose));
  return {
    integer: (below) => uniformInt(generator, 0, below - 1),
    fraction: () => uniformFloat64(generator),
  };
}

/** Shuffles in place (Fisher–Yates) and returns the same array. */
export function shuffle<T extends { readonly length: number; [index: number]: unknown }>(values: T, random: Random): T {
  for (let last = values.length - 1; last > 0; last--) {
    const other = random.integer(last + 1);
    const kept = values[last];
    values[last] = values[other];
    values[other] = kept;
  }
  return values;
}

/** The numbers from 0 up to `count` in random order. */
export function permutation(count: number, random: Random): Int32Array {
  return shuffle(Int32Array.from({ length: count }, (_, index) => index), random);
}
