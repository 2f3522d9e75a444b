/**
 * A small seeded generator (sfc32): the same seed, the same numbers, on every machine. Its state is plain data, so that a
 * checkpoint can hold it.
 */
export interface Random {
  /** Uniform in [0, 1). */
  uniform(): number;
  /** Normal with mean 0 and deviation 1 (Box–Muller). */
  normal(): number;
  /** Uniform integer in [0, bound). */
  integer(bound: number): number;
  saveState(): readonly number[];
  loadState(state: readonly number[]): void;
}

/** FNV-1a over UTF-16 units, then avalanched: a 32-bit hash to derive seeds from names. */
export function hashText(text: string): number {
  let hash = 0x811c9dc5;
  for (let index = 0; index < text.length; index += 1) hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193);
  return mix(hash);
}

function mix(value: number): number {
  let mixed = value | 0;
  mixed = Math.imul(mixed ^ (mixed >>> 16), 0x21f0aaad);
  mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a2d97);
  return (mixed ^ (mixed >>> 15)) >>> 0;
}

/** A generator of its own for each `name`, so that adding one layer changes no other layer's numbers. */
export function createRandom(seed: number, name = ''): Random {
  const base = mix(seed) ^ hashText(name);
  let state: number[] = [mix(base), mix(base ^ 0x9e3779b9), mix(base ^ 0x85ebca6b), 1];
  const next = (): number => {
    const [a = 0, b = 0, c = 0, counter = 0] = state;
    const sum = (a + b + counter) | 0;
    state = [b ^ (b >>> 9), (c + (c << 3)) | 0, (((c << 21) | (c >>> 11)) + sum) | 0, (counter + 1) | 0];
    return sum >>> 0;
  };
  for (let round = 0; round < 12; round += 1) next();
  const uniform = (): number => next() / 2 ** 32;
  return {
    uniform,
    normal: () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform()),
    integer: (bound) => Math.floor(uniform() * bound),
    saveState: () => [...state],
    loadState: (saved) => {
      state = [...saved];
    },
  };
}

/** `count` draws as float32. */
export function fillFloat32(count: number, draw: () => number): Float32Array {
  const values = new Float32Array(count);
  for (let index = 0; index < count; index += 1) values[index] = draw();
  return values;
}
