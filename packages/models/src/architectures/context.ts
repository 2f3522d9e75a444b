import * as tf from '@tensorflow/tfjs-core';
import type { ForwardInput } from '@whetstone/core/contract';
import { constant, type AttentionBlock, type RotaryTables } from '@whetstone/core/ops';
import {
  flashAttentionSupport,
  segmentLengths,
  segmentPlaces,
  type CausalSegments,
  type SegmentPlaces,
} from '@whetstone/core/ops/internal';
import type { KeyPlaces } from './key-value-cache.js';
import type { DecoderShape, LayerShape } from './shape.js';

/** The segment of keys that every token sees, whatever its own segment: prefixes and prompt embeddings. */
const SHARED_SEGMENT = -1;

/**
 * Tokens as the layers see them: virtual ones included, positions moved behind prefixes. [rows × length], row-major.
 */
export interface Places {
  readonly rows: number;
  readonly length: number;
  readonly segmentIds: Int32Array;
  readonly positionIds: Int32Array;
}

/** How tokens get to the places where attention has them, [places], and back, [tokens]. */
export interface Spread {
  readonly tokenOf: tf.Tensor1D;
  readonly placeOf: tf.Tensor1D;
}

/** What is the same for all layers of one forward pass, made once. */
export interface ForwardContext extends Places {
  /** Null where each place is a token of its own. */
  readonly spread: Spread | null;
  /** Rotary tables of a layer, or null where it rotates nothing. The layer's scale is part of the query's. */
  tables(
    layer: LayerShape,
  ): { readonly query: RotaryTables; readonly key: RotaryTables; readonly rotated: number } | null;
  /** What flash attention has to know of a layer, or null where it cannot serve it. Then there is a bias. */
  flash(layer: LayerShape): CausalSegments | null;
  /** 0 where a query may look, −1e9 elsewhere: [rows × kvHeads, groups × length, keys]. */
  bias(layer: LayerShape): tf.Tensor3D;
  /** Which keys stretches of positions can see at all, where that is worth telling. */
  blocks(layer: LayerShape): readonly AttentionBlock[] | null;
}

/** Puts `virtual` shared tokens before every row and moves positions behind them and behind `prefix` cached keys. */
export function placesOf(input: ForwardInput, virtual: number, prefix: number): Places {
  const { rows } = input;
  const length = input.length + virtual;
  const segmentIds = new Int32Array(rows * length);
  const positionIds = new Int32Array(rows * length);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < length; column++) {
      const at = row * length + column;
      const from = row * input.length + column - virtual;
      segmentIds[at] = column < virtual ? SHARED_SEGMENT : (input.segmentIds[from] ?? 0);
      positionIds[at] = column < virtual ? column : (input.positionIds[from] ?? 0) + virtual + prefix;
    }
  }
  return { rows, length, segmentIds, positionIds };
}

/** Segments of `before` and, after them in each row, of `own`. */
export function joinKeys(rows: number, before: KeyPlaces, own: Pick<Places, 'length' | 'segmentIds'>): KeyPlaces {
  const count = before.count + own.length;
  const segmentIds = new Int32Array(rows * count);
  for (let row = 0; row < rows; row++) {
    segmentIds.set(before.segmentIds.subarray(row * before.count, (row + 1) * before.count), row * count);
    segmentIds.set(own.segmentIds.subarray(row * own.length, (row + 1) * own.length), row * count + before.count);
  }
  return { count, capacity: count, segmentIds };
}

/** Keys that every row sees, before its own: a prefix. */
export function prefixKeys(rows: number, count: number): KeyPlaces {
  return { count, capacity: count, segmentIds: new Int32Array(rows * count).fill(SHARED_SEGMENT) };
}

/**
 * The context of one forward pass. `keys` are all keys that the pass attends to; the last `places.length` of each row
 * are its own. Everything large is computed on the device from small host inputs, so that a recorded graph is the same
 * for every shape.
 */
export function createContext(
  shape: DecoderShape,
  places: Places,
  keys: KeyPlaces,
  spread: Spread | null = null,
): ForwardContext {
  const { rows, length } = places;
  const rotaries = shape.ropes.map((_, rope) => rotaryTables(shape, rope, places));
  const flash = flashSegments(shape, places, keys);
  const windows = flash === null ? [...new Set(shape.layers.map(({ window }) => window))] : [];
  const made = tf.tidy(() => attentionBiases(shape, places, keys, windows));
  const biases = new Map(windows.map((window, index) => [window, made[index]]));
  const blocks = new Map(windows.map((window) => [window, attentionBlocks(places, keys, window)]));
  return {
    ...places,
    rows,
    length,
    spread,
    tables(layer) {
      return layer.rope === null ? null : (rotaries[layer.rope] ?? null);
    },
    flash: (layer) => (flash === null ? null : { ...flash, window: layer.window }),
    bias(layer) {
      const bias = biases.get(layer.window);
      if (bias === undefined) throw new Error(`No mask was made for the window ${layer.window}.`);
      return bias;
    },
    blocks: (layer) => blocks.get(layer.window) ?? null,
  };
}

/**
 * Where the segments are, if the device has flash attention and nothing stands in its way: keys before the row's own,
 * tokens that all see, squeezed scores.
 */
function flashSegments(
  shape: DecoderShape,
  { rows, length, segmentIds }: Places,
  keys: KeyPlaces,
): { readonly places: SegmentPlaces | null } | null {
  const support = flashAttentionSupport();
  if (
    support === null ||
    shape.attentionSoftCap !== null ||
    shape.headDim % 8 !== 0 ||
    shape.headDim > support.mostFeatures
  )
    return null;
  if (keys.capacity !== length || keys.segmentIds.some((segment) => segment < 0)) return null;
  const places = segmentPlaces(segmentLengths(rows, length, segmentIds), shape);
  return places === null || support.packed ? { places } : null;
}

/**
 * Stretches of positions whose keys are told apart. More save little and cost a call each; a fixed number keeps a
 * recorded graph the same for every length.
 */
const BLOCKS = 4;
/**
 * Below this many positions the stretches are too short to pay; and a run of shorter rows has one structure to compile,
 * and a smaller one.
 */
const SHORTEST = 256;

/**
 * For each of a few stretches of positions, the keys between the first and the last that a query of any row can see
 * there.
 */
function attentionBlocks(
  { rows, length, segmentIds }: Places,
  keys: KeyPlaces,
  window: number | null,
): AttentionBlock[] | null {
  if (length < SHORTEST) return null;
  const before = keys.count - length;
  const shared = keys.segmentIds.some((segment) => segment < 0);
  const size = Math.ceil(length / BLOCKS);
  return Array.from({ length: BLOCKS }, (_, block): AttentionBlock => {
    const begin = block * size;
    const end = Math.min(length, begin + size);
    let first = shared || before > 0 ? 0 : begin;
    for (let row = 0; row < rows && first > 0; row++) {
      // A segment is contiguous: the first query's is the one that reaches back furthest.
      const segment = segmentIds[row * length + begin];
      while (first > 0 && segmentIds[row * length + first - 1] === segment) first--;
    }
    const firstKey = Math.max(first, window === null ? 0 : before + begin - window + 1);
    return { queries: end - begin, firstKey, keys: before + end - firstKey };
  });
}

function rotaryTables(
  shape: DecoderShape,
  index: number,
  { rows, length, positionIds }: Places,
): ReturnType<ForwardContext['tables']> {
  const rope = shape.ropes[index];
  if (rope === undefined) return null;
  const { rotated, attentionFactor } = rope;
  const longest = positionIds.reduce((largest, position) => Math.max(largest, position), 0) + 1;
  const pairs = rope.frequencies(longest);
  const feature = (values: (at: number) => number): tf.Tensor =>
    tf.tensor(
      Float32Array.from({ length: shape.headDim }, (_, at) => values(at)),
      [1, 1, 1, shape.headDim],
    );
  const scale = shape.layers.find((layer) => layer.rope === index)?.attentionScale ?? 1;
  const made = tf.tidy(() => {
    const positions = tf.cast(tf.tensor(positionIds, [rows, 1, length, 1], 'int32'), 'float32');
    // Features that are not rotated have frequency 0: cosine 1 and sine 0.
    const angles = tf.mul(
      positions,
      feature((at) => (at < rotated ? (pairs[at % (rotated / 2)] ?? 0) : 0)),
    );
    const [cos, sin] = [tf.cos(angles), tf.sin(angles)];
    return [scale, 1].flatMap((each) => [
      tf.mul(
        cos,
        feature((at) => each * (at < rotated ? attentionFactor : 1)),
      ),
      tf.mul(
        sin,
        feature((at) => each * attentionFactor * (at < rotated / 2 ? -1 : 1)),
      ),
    ]);
  });
  const [queryCos, querySin, keyCos, keySin] = made as [tf.Tensor4D, tf.Tensor4D, tf.Tensor4D, tf.Tensor4D];
  return { query: { cos: queryCos, sin: querySin }, key: { cos: keyCos, sin: keySin }, rotated };
}

interface Mask {
  /** [rows, 1, length, keys], boolean. */
  readonly visible: tf.Tensor;
  /** How far before the query the key stands, [1, 1, length, keys], int32. */
  readonly distance: tf.Tensor;
}

function causalMask({ rows, length, segmentIds }: Places, keys: KeyPlaces): Mask {
  const queryIndex = Int32Array.from({ length }, (_, token) => keys.count - length + token);
  const keyIndex = Int32Array.from({ length: keys.capacity }, (_, key) => key);
  const zero = constant(0, 'int32');
  const distance = tf.sub(
    tf.tensor(queryIndex, [1, 1, length, 1], 'int32'),
    tf.tensor(keyIndex, [1, 1, 1, keys.capacity], 'int32'),
  );
  const ofQuery = tf.tensor(segmentIds, [rows, 1, length, 1], 'int32');
  const ofKey = tf.tensor(roomy(rows, keys), [rows, 1, 1, keys.capacity], 'int32');
  const sameSegment = tf.logicalOr(tf.equal(ofQuery, ofKey), tf.less(ofKey, zero));
  return { visible: tf.logicalAnd(sameSegment, tf.greaterEqual(distance, zero)), distance };
}

/** Segments of all keys; of what is not there yet the segment does not matter, because it stands behind every query. */
function roomy(rows: number, { count, capacity, segmentIds }: KeyPlaces): Int32Array {
  if (capacity === count) return segmentIds;
  const all = new Int32Array(rows * capacity);
  for (let row = 0; row < rows; row++) all.set(segmentIds.subarray(row * count, (row + 1) * count), row * capacity);
  return all;
}

/** A mask for each window, added to scores. */
function attentionBiases(
  shape: DecoderShape,
  places: Places,
  keys: KeyPlaces,
  windows: readonly (number | null)[],
): tf.Tensor3D[] {
  if (windows.length === 0) return [];
  const mask = causalMask(places, keys);
  return windows.map((window) => attentionBias(shape, places, keys, mask, window));
}

function attentionBias(
  shape: DecoderShape,
  { rows, length }: Places,
  keys: KeyPlaces,
  mask: Mask,
  window: number | null,
): tf.Tensor3D {
  const visible =
    window === null ? mask.visible : tf.logicalAnd(mask.visible, tf.less(mask.distance, constant(window, 'int32')));
  // Finite, so that a row in which everything is hidden still gives numbers.
  const bias = tf.mul(tf.sub(tf.cast(visible, 'float32'), constant(1)), constant(1e9));
  // Once for all layers at full size: adding operands of one shape is far cheaper than broadcasting in every layer.
  const groups = shape.heads / shape.keyValueHeads;
  return tf.reshape(tf.tile(bias as tf.Tensor4D, [1, shape.heads, 1, 1]), [
    rows * shape.keyValueHeads,
    groups * length,
    keys.capacity,
  ]);
}
