import { clone, concat, dispose, keep, pad, tidy, type Tensor4D } from '@tensorflow/tfjs-core';
import type { KeyValueCache } from '@whetstone/core/contract';
import { shapesAreStatic, writeSlice } from '@whetstone/core/ops/internal';

/** The keys of a pass as the mask needs them: host data, [rows × count]. */
export interface KeyGrid {
  /** Keys per row. */
  readonly count: number;
  /** Allocated keys per row; the keys from `count` on are unused and must be masked. */
  readonly capacity: number;
  readonly segmentIds: Int32Array;
}

/**
 * Keys and values of every layer, [rows, kvHeads, keys, headDim]. They grow with each pass: by concatenation or, if
 * shapes are static, by writing into memory whose capacity doubles.
 */
export interface DecoderCache extends KeyValueCache {
  readonly rows: number;
  /** All keys in the cache, including those of a prefix. */
  readonly keys: KeyGrid;
  /** Returns `keys` with the capacity that this cache will allocate for them. */
  withCapacity(keys: KeyGrid): KeyGrid;
  /** Appends keys and values of a layer and returns all of them. The cache owns the result. */
  append(layer: number, key: Tensor4D, value: Tensor4D): { readonly key: Tensor4D; readonly value: Tensor4D };
  /** Records that a pass read `tokens` tokens per row and that the cache now contains `keys`. */
  advance(tokens: number, keys: KeyGrid): void;
}

/** Creates an empty cache for `rows` sequences. */
export function createKeyValueCache(rows: number): DecoderCache {
  const layers = new Map<number, { readonly key: Tensor4D; readonly value: Tensor4D }>();
  let length = 0;
  let cachedKeys: KeyGrid = { count: 0, capacity: 0, segmentIds: new Int32Array(0) };
  const preallocates = shapesAreStatic();
  const join = (before: Tensor4D | undefined, added: Tensor4D): Tensor4D => {
    if (preallocates) return writeAfter(before, cachedKeys.count, added);
    return before === undefined ? clone(added) : concat([before, added], 2);
  };
  return {
    rows,
    get length() {
      return length;
    },
    get keys() {
      return cachedKeys;
    },
    withCapacity: (keys) => (preallocates ? { ...keys, capacity: capacityFor(keys.count) } : keys),
    append(layer, key, value) {
      const before = layers.get(layer);
      const joined = { key: keep(join(before?.key, key)), value: keep(join(before?.value, value)) };
      before?.key.dispose();
      before?.value.dispose();
      layers.set(layer, joined);
      return joined;
    },
    advance(tokens, keys) {
      length += tokens;
      cachedKeys = keys;
    },
    dispose() {
      for (const { key, value } of layers.values()) dispose([key, value]);
      layers.clear();
    },
  };
}

/** Writes `added` after the `count` keys in `before`, which is enlarged first if it is full. */
function writeAfter(before: Tensor4D | undefined, count: number, added: Tensor4D): Tensor4D {
  const length = added.shape[2];
  const capacity = capacityFor(count + length);
  return tidy(() => {
    if (before === undefined) return padKeys(added, capacity - length);
    const missing = capacity - before.shape[2];
    return writeSlice(missing === 0 ? before : padKeys(before, missing), added, count);
  });
}

/** Adds `missing` zeros after the keys of each head. */
const padKeys = (tensor: Tensor4D, missing: number): Tensor4D =>
  pad(tensor, [
    [0, 0],
    [0, 0],
    [0, missing],
    [0, 0],
  ]);

const MIN_CAPACITY = 64;

/** Returns the capacity for `count` keys. It doubles, so that a long reply needs few shapes and wastes at most half. */
const capacityFor = (count: number): number =>
  MIN_CAPACITY * 2 ** Math.max(0, Math.ceil(Math.log2(count / MIN_CAPACITY)));
