import * as tf from '@tensorflow/tfjs-core';
import type { KeyValueCache } from '@whetstone/core/contract';

/** What every key of a sequence needs besides its numbers, for the mask: host data, [rows × keys]. */
export interface KeyPlaces {
  readonly count: number;
  readonly segmentIds: Int32Array;
}

/** Keys and values of every layer, [rows, kvHeads, keys, headDim], growing with what was read. */
export interface DecoderCache extends KeyValueCache {
  readonly rows: number;
  /** Segments of all keys so far, those of a prefix included. */
  readonly places: KeyPlaces;
  /** The layer's keys and values with the new ones appended; the cache keeps the result. */
  append(layer: number, key: tf.Tensor4D, value: tf.Tensor4D): { readonly key: tf.Tensor4D; readonly value: tf.Tensor4D };
  /** Notes that `tokens` tokens were read, after which the keys are at `places`. */
  advance(tokens: number, places: KeyPlaces): void;
}

export function createKeyValueCache(rows: number): DecoderCache {
  const layers = new Map<number, { readonly key: tf.Tensor4D; readonly value: tf.Tensor4D }>();
  let length = 0;
  let places: KeyPlaces = { count: 0, segmentIds: new Int32Array(0) };
  return {
    rows,
    get length() {
      return length;
    },
    get places() {
      return places;
    },
    append(layer, key, value) {
      const before = layers.get(layer);
      const joined = before === undefined ? { key: tf.clone(key), value: tf.clone(value) } : { key: tf.concat([before.key, key], 2), value: tf.concat([before.value, value], 2) };
      tf.keep(joined.key);
      tf.keep(joined.value);
      before?.key.dispose();
      before?.value.dispose();
      layers.set(layer, joined);
      return joined;
    },
    advance(tokens, next) {
      length += tokens;
      places = next;
    },
    dispose() {
      for (const { key, value } of layers.values()) tf.dispose([key, value]);
      layers.clear();
    },
  };
}
