import * as tf from '@tensorflow/tfjs-core';
import type { KeyValueCache } from '@whetstone/core/contract';
import { shapesAreStatic, writeSlice } from '@whetstone/core/ops/internal';

/** What every key of a sequence needs besides its numbers, for the mask: host data, [rows × count]. */
export interface KeyPlaces {
  readonly count: number;
  /** How many keys there is room for: those behind `count` are not there yet, and nobody may look at them. */
  readonly capacity: number;
  readonly segmentIds: Int32Array;
}

/**
 * Keys and values of every layer, [rows, kvHeads, keys, headDim], growing with what was read: key by key, or, where
 * shapes are static, by doubling room that is written in place.
 */
export interface DecoderCache extends KeyValueCache {
  readonly rows: number;
  /** Segments of all keys so far, those of a prefix included. */
  readonly places: KeyPlaces;
  /** `count` keys as this cache will have room for them. */
  withRoom(keys: KeyPlaces): KeyPlaces;
  /** The layer's keys and values with the new ones appended; the cache keeps the result. */
  append(
    layer: number,
    key: tf.Tensor4D,
    value: tf.Tensor4D,
  ): { readonly key: tf.Tensor4D; readonly value: tf.Tensor4D };
  /** Notes that `tokens` tokens were read, after which the keys are at `places`. */
  advance(tokens: number, places: KeyPlaces): void;
}

export function createKeyValueCache(rows: number): DecoderCache {
  const layers = new Map<number, { readonly key: tf.Tensor4D; readonly value: tf.Tensor4D }>();
  let length = 0;
  let places: KeyPlaces = { count: 0, capacity: 0, segmentIds: new Int32Array(0) };
  const hasRoom = shapesAreStatic();
  /** New keys written behind those there are, into room that is made where there is none. */
  const write = (before: tf.Tensor4D | undefined, part: tf.Tensor4D): tf.Tensor4D =>
    tf.tidy(() => {
      const length = part.shape[2];
      const room = capacityFor(places.count + length);
      if (before === undefined)
        return tf.pad(part, [
          [0, 0],
          [0, 0],
          [0, room - length],
          [0, 0],
        ]);
      const missing = room - before.shape[2];
      return writeSlice(
        missing === 0
          ? before
          : tf.pad(before, [
              [0, 0],
              [0, 0],
              [0, missing],
              [0, 0],
            ]),
        part,
        places.count,
      );
    });
  return {
    rows,
    get length() {
      return length;
    },
    get places() {
      return places;
    },
    withRoom: (keys) => (hasRoom ? { ...keys, capacity: capacityFor(keys.count) } : keys),
    append(layer, key, value) {
      const before = layers.get(layer);
      const joined = hasRoom
        ? { key: write(before?.key, key), value: write(before?.value, value) }
        : before === undefined
          ? { key: tf.clone(key), value: tf.clone(value) }
          : { key: tf.concat([before.key, key], 2), value: tf.concat([before.value, value], 2) };
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

const LEAST_ROOM = 64;

/** Room for keys doubles: the shapes of a long reply are few, and half the room at most is empty. */
const capacityFor = (count: number): number => LEAST_ROOM * 2 ** Math.max(0, Math.ceil(Math.log2(count / LEAST_ROOM)));
