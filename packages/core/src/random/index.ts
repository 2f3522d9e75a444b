import { uniformFloat64 } from 'pure-rand/distribution/uniformFloat64';
import { uniformInt } from 'pure-rand/distribution/uniformInt';
import { xoroshiro128plus, xoroshiro128plusFromState } from 'pure-rand/generator/xoroshiro128plus';
import { FNV_OFFSET, fnv1aStep } from '../util/index.js';

/**
 * A stream of random numbers: the same seed, the same numbers, on every machine. Its state is plain data, so that a
 * checkpoint can hold it.
 */
export interface Random {
  /** Uniform in [0, 1). */
  uniform(): number;
  /** Normal with mean 0 and deviation 1 (Box–Muller). */
  normal(): number;
  /** A whole number from 0 up to, not including, `below`. */
  integer(below: number): number;
  saveState(): readonly number[];
  loadState(state: readonly number[]): void;
}

/** FNV-1a over the code points of a seed and the names of a purpose: streams for different purposes are independent. */
function mixSeed(seed: number, purpose: readonly (string | number)[]): number {
  let hash = FNV_OFFSET;
  for (const unit of `${seed}|${purpose.join('|')}`) hash = fnv1aStep(hash, unit.codePointAt(0) ?? 0);
  return hash | 0;
}

/**
 * The stream for one purpose (`'shuffle', epoch`; a layer's name), by xoroshiro128+. Streams of different purposes do
 * not depend on one another, so drawing more of one, or adding a layer, never changes the other.
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

/** `count` draws as float32. */
export function fillFloat32(count: number, draw: () => number): Float32Array {
  const values = new Float32Array(count);
  for (let index = 0; index < count; index++) values[index] = draw();
  return values;
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
  return shuffle(
    Int32Array.from({ length: count }, (_, index) => index),
    random,
  );
}
