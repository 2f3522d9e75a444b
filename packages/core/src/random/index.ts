import { uniformFloat64 } from 'pure-rand/distribution/uniformFloat64';
import { uniformInt } from 'pure-rand/distribution/uniformInt';
import { xoroshiro128plus, xoroshiro128plusFromState } from 'pure-rand/generator/xoroshiro128plus';
import { FNV_OFFSET, fnv1aStep } from '../util/index.js';

/**
 * A stream of random numbers. The same seed produces the same numbers on every machine. The state is plain data, so
 * that checkpoints can store it.
 */
export interface Random {
  /** Returns a number that is uniformly distributed in [0, 1). */
  uniform(): number;
  /** Returns a normally distributed number with mean 0 and standard deviation 1 (Box–Muller transform). */
  normal(): number;
  /** Returns a uniformly distributed integer from 0 to `below - 1`. */
  integer(below: number): number;
  /** Returns the state of the stream. */
  saveState(): readonly number[];
  /** Restores a state. The numbers continue where it was saved. */
  loadState(state: readonly number[]): void;
}

/** Returns the FNV-1a hash of a seed and a purpose, so that different purposes get independent streams. */
function mixSeed(seed: number, purpose: readonly (string | number)[]): number {
  let hash = FNV_OFFSET;
  for (const unit of `${seed}|${purpose.join('|')}`) hash = fnv1aStep(hash, unit.codePointAt(0) ?? 0);
  return hash | 0;
}

/**
 * Creates the random stream for a purpose, with the generator xoroshiro128+. Streams of different purposes are
 * independent: drawing more numbers from one does not change another.
 *
 * @param purpose identifies the stream, for example `'shuffle', epoch` or the name of a layer
 */
export function createRandom(seed: number, ...purpose: readonly (string | number)[]): Random {
  let generator = xoroshiro128plus(mixSeed(seed, purpose));
  const uniform = (): number => uniformFloat64(generator);
  return {
    uniform,
    normal: () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform()),
    integer: (below) => uniformInt(generator, 0, below - 1),
    saveState: () => [...generator.getState()],
    loadState: (state) => {
      generator = xoroshiro128plusFromState(state);
    },
  };
}

/** Returns `count` results of `draw` as float32 numbers. */
export function fillFloat32(count: number, draw: () => number): Float32Array {
  const values = new Float32Array(count);
  for (let index = 0; index < count; index++) values[index] = draw();
  return values;
}

/** Shuffles an array in place (Fisher–Yates) and returns it. */
export function shuffle<T extends { readonly length: number; [index: number]: unknown }>(values: T, random: Random): T {
  for (let last = values.length - 1; last > 0; last--) {
    const other = random.integer(last + 1);
    const swapped = values[last];
    values[last] = values[other];
    values[other] = swapped;
  }
  return values;
}

/** Returns the integers from 0 to `count - 1` in random order. */
export function permutation(count: number, random: Random): Int32Array {
  return shuffle(
    Int32Array.from({ length: count }, (_, index) => index),
    random,
  );
}
