import {
  cast,
  cos,
  equal,
  greaterEqual,
  less,
  logicalAnd,
  logicalOr,
  mul,
  reshape,
  sin,
  sub,
  tensor,
  tidy,
  tile,
  where,
  type Tensor,
  type Tensor1D,
  type Tensor3D,
  type Tensor4D,
} from '@tensorflow/tfjs-core';
import type { ForwardInput } from '@whetstone/core/contract';
import { constant, type AttentionBlock, type RotaryTables } from '@whetstone/core/ops';
import {
  flashAttentionSupport,
  segmentLengths,
  segmentOffsets,
  type CausalSegments,
  type SegmentOffsets,
} from '@whetstone/core/ops/internal';
import type { KeyGrid } from './key-value-cache.js';
import type { DecoderShape, LayerShape } from './shape.js';

/** The segment of prefixes and prompt embeddings: tokens of every segment may attend to them. */
const SHARED_SEGMENT = -1;

/**
 * The tokens of a pass as attention sees them, [rows × length], row-major. It includes prompt embeddings, and positions
 * start after the prefix. A cell is an index into the grid: row · length + column.
 */
export interface TokenGrid {
  readonly rows: number;
  readonly length: number;
  readonly segmentIds: Int32Array;
  readonly positionIds: Int32Array;
}

/** Maps cells of the token grid to distinct tokens and back. */
export interface CellMap {
  /** The token in each cell, [rows × length]. */
  readonly tokenOf: Tensor1D;
  /** One cell of each token, [tokens]. */
  readonly cellOf: Tensor1D;
}

/** What all layers of one forward pass share. */
export interface ForwardContext extends TokenGrid {
  /** Null if every cell has its own token. */
  readonly cellMap: CellMap | null;
  /**
   * The rotary tables of a layer, or null if it has no rotary positions. The query's tables include the attention
   * scale.
   */
  tables(
    layer: LayerShape,
  ): { readonly query: RotaryTables; readonly key: RotaryTables; readonly rotated: number } | null;
  /** The segments for flash attention, or null if flash attention does not support the layer; then `bias` exists. */
  flash(layer: LayerShape): CausalSegments | null;
  /** The attention mask [rows × kvHeads, groups × length, keys]: 0 for visible keys, −1e9 for hidden keys. */
  bias(layer: LayerShape): Tensor3D;
  /** The range of keys that each block of queries can see, or null for short rows. */
  blocks(layer: LayerShape): readonly AttentionBlock[] | null;
}

/**
 * Creates the grid of an input: `promptLength` shared cells before every row. `positionOffset` is the number of keys
 * before the grid that the positions of the input do not count. It shifts the positions of all cells.
 */
export function createTokenGrid(input: ForwardInput, promptLength: number, positionOffset: number): TokenGrid {
  const { rows } = input;
  const length = input.length + promptLength;
  const segmentIds = new Int32Array(rows * length);
  const positionIds = new Int32Array(rows * length);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < length; column++) {
      const cell = row * length + column;
      const from = row * input.length + column - promptLength;
      segmentIds[cell] = column < promptLength ? SHARED_SEGMENT : (input.segmentIds[from] ?? 0);
      const position = column < promptLength ? column : (input.positionIds[from] ?? 0) + promptLength;
      positionIds[cell] = positionOffset + position;
    }
  }
  return { rows, length, segmentIds, positionIds };
}

/** Appends the keys of the tokens `own` to the keys `before`, row by row. */
export function joinKeys(rows: number, before: KeyGrid, own: Pick<TokenGrid, 'length' | 'segmentIds'>): KeyGrid {
  const count = before.count + own.length;
  const segmentIds = new Int32Array(rows * count);
  for (let row = 0; row < rows; row++) {
    segmentIds.set(before.segmentIds.subarray(row * before.count, (row + 1) * before.count), row * count);
    segmentIds.set(own.segmentIds.subarray(row * own.length, (row + 1) * own.length), row * count + before.count);
  }
  return { count, capacity: count, segmentIds };
}

/** Returns the keys of a prefix: `count` keys before every row that all tokens may attend to. */
export function prefixKeys(rows: number, count: number): KeyGrid {
  return { count, capacity: count, segmentIds: new Int32Array(rows * count).fill(SHARED_SEGMENT) };
}

/**
 * Creates the context of one forward pass. `keys` are all keys that the pass attends to. The last `grid.length` keys of
 * each row belong to the tokens of the grid. Large tensors are computed on the device from small host inputs, so that a
 * recorded graph is the same for every shape.
 */
export function createContext(
  shape: DecoderShape,
  grid: TokenGrid,
  keys: KeyGrid,
  cellMap: CellMap | null = null,
): ForwardContext {
  const { rows, length } = grid;
  const tables = shape.ropes.map((_, rope) => rotaryTables(shape, rope, grid));
  const flash = flashSegments(shape, grid, keys);
  const windows = flash === null ? [...new Set(shape.layers.map(({ window }) => window))] : [];
  const masks = tidy(() => attentionBiases(shape, grid, keys, windows));
  const biases = new Map(windows.map((window, index) => [window, masks[index]]));
  const blocks = new Map(windows.map((window) => [window, attentionBlocks(grid, keys, window)]));
  return {
    ...grid,
    rows,
    length,
    cellMap,
    tables(layer) {
      return layer.rope === null ? null : (tables[layer.rope] ?? null);
    },
    flash: (layer) => (flash === null ? null : { ...flash, window: layer.window }),
    bias(layer) {
      const bias = biases.get(layer.window);
      if (bias === undefined) throw new Error(`No mask was created for the window ${layer.window}.`);
      return bias;
    },
    blocks: (layer) => blocks.get(layer.window) ?? null,
  };
}

/**
 * Returns the segments for flash attention, or null if it cannot be used: the device lacks it, the head size is
 * unsupported, scores have a soft cap, or keys precede the tokens of the row (prefix, prompt embeddings, cache).
 */
function flashSegments(
  shape: DecoderShape,
  { rows, length, segmentIds }: TokenGrid,
  keys: KeyGrid,
): { readonly offsets: SegmentOffsets | null } | null {
  const support = flashAttentionSupport();
  if (
    support === null ||
    shape.attentionSoftCap !== null ||
    shape.headDim % 8 !== 0 ||
    shape.headDim > support.mostFeatures
  )
    return null;
  if (keys.capacity !== length || keys.segmentIds.some((segment) => segment < 0)) return null;
  const offsets = segmentOffsets(segmentLengths(rows, length, segmentIds), shape);
  return offsets === null || support.packed ? { offsets } : null;
}

/**
 * Number of query blocks. More blocks save little and cost one call each. The number is fixed so that a recorded graph
 * is the same for every length.
 */
const BLOCKS = 4;
/** Minimum row length for blocks: shorter blocks do not save time, and short rows compile to a smaller graph. */
const MIN_LENGTH = 256;

/** Returns the number of shared keys, which are the first keys of every row. */
function countSharedKeys({ count, segmentIds }: KeyGrid): number {
  const first = segmentIds.subarray(0, count).findIndex((segment) => segment >= 0);
  return first === -1 ? count : first;
}

/** Returns the range of keys that the queries of each block can see, over all rows. */
function attentionBlocks(
  { rows, length, segmentIds, positionIds }: TokenGrid,
  keys: KeyGrid,
  window: number | null,
): AttentionBlock[] | null {
  if (length < MIN_LENGTH) return null;
  const before = keys.count - length;
  const shared = countSharedKeys(keys);
  const size = Math.ceil(length / BLOCKS);
  const lowestPosition = (begin: number, end: number): number => {
    let lowest = Infinity;
    for (let row = 0; row < rows; row++)
      for (let column = begin; column < end; column++)
        lowest = Math.min(lowest, positionIds[row * length + column] ?? 0);
    return lowest;
  };
  return Array.from({ length: BLOCKS }, (_, block): AttentionBlock => {
    const begin = block * size;
    const end = Math.min(length, begin + size);
    let first = shared > 0 || before > 0 ? 0 : begin;
    for (let row = 0; row < rows && first > 0; row++) {
      // A segment is contiguous, so the segment of the first query starts earliest.
      const segment = segmentIds[row * length + begin];
      while (first > 0 && segmentIds[row * length + first - 1] === segment) first--;
    }
    const seesShared = window === null || lowestPosition(begin, end) - window < shared - 1;
    const firstKey = shared > 0 && seesShared ? 0 : Math.max(first, window === null ? 0 : before + begin - window + 1);
    return { queries: end - begin, firstKey, keys: before + end - firstKey };
  });
}

/**
 * Computes cosines and sines of the rope `index`, [rows, 1, length, headDim]; the query's include the attention scale.
 */
function rotaryTables(
  shape: DecoderShape,
  index: number,
  { rows, length, positionIds }: TokenGrid,
): ReturnType<ForwardContext['tables']> {
  const rope = shape.ropes[index];
  if (rope === undefined) return null;
  const { rotated, attentionFactor } = rope;
  const longest = positionIds.reduce((largest, position) => Math.max(largest, position), 0) + 1;
  const pairs = rope.frequencies(longest);
  const feature = (values: (at: number) => number): Tensor =>
    tensor(
      Float32Array.from({ length: shape.headDim }, (_, at) => values(at)),
      [1, 1, 1, shape.headDim],
    );
  const scale = shape.layers.find((layer) => layer.rope === index)?.attentionScale ?? 1;
  const tables = tidy(() => {
    const positions = cast(tensor(positionIds, [rows, 1, length, 1], 'int32'), 'float32');
    // Features without rotation have frequency 0, so cosine 1 and sine 0.
    const angles = mul(
      positions,
      feature((at) => (at < rotated ? (pairs[at % (rotated / 2)] ?? 0) : 0)),
    );
    const [cosines, sines] = [cos(angles), sin(angles)];
    return [scale, 1].flatMap((each) => [
      mul(
        cosines,
        feature((at) => each * (at < rotated ? attentionFactor : 1)),
      ),
      mul(
        sines,
        feature((at) => each * attentionFactor * (at < rotated / 2 ? -1 : 1)),
      ),
    ]);
  });
  const [queryCos, querySin, keyCos, keySin] = tables as [Tensor4D, Tensor4D, Tensor4D, Tensor4D];
  return { query: { cos: queryCos, sin: querySin }, key: { cos: keyCos, sin: keySin }, rotated };
}

interface Mask {
  /** [rows, 1, length, keys], boolean. */
  readonly visible: Tensor;
  /**
   * How many positions a key is before the query, int32: [1, 1, length, keys], or [rows, 1, length, keys] if there are
   * shared keys.
   */
  readonly distance: Tensor;
}

/** Computes which keys each query can see: keys of its own or the shared segment that do not come after it. */
function causalMask({ rows, length, segmentIds, positionIds }: TokenGrid, keys: KeyGrid): Mask {
  const queryIndex = Int32Array.from({ length }, (_, token) => keys.count - length + token);
  const keyIndex = Int32Array.from({ length: keys.capacity }, (_, key) => key);
  const zero = constant(0, 'int32');
  const index = tensor(keyIndex, [1, 1, 1, keys.capacity], 'int32');
  const distance = sub(tensor(queryIndex, [1, 1, length, 1], 'int32'), index);
  const ofQuery = tensor(segmentIds, [rows, 1, length, 1], 'int32');
  const ofKey = tensor(padToCapacity(rows, keys), [rows, 1, 1, keys.capacity], 'int32');
  const isShared = less(ofKey, zero);
  const visible = logicalAnd(logicalOr(equal(ofQuery, ofKey), isShared), greaterEqual(distance, zero));
  if (countSharedKeys(keys) === 0) return { visible, distance };
  // Other documents or padding may lie between a query and the shared keys, whose positions are their indices.
  const fromShared = sub(tensor(positionIds, [rows, 1, length, 1], 'int32'), index);
  return { visible, distance: where(isShared, fromShared, distance) };
}

/** Pads the segments to the capacity of the cache. Unused keys come after every query, so the mask hides them. */
function padToCapacity(rows: number, { count, capacity, segmentIds }: KeyGrid): Int32Array {
  if (capacity === count) return segmentIds;
  const all = new Int32Array(rows * capacity);
  for (let row = 0; row < rows; row++) all.set(segmentIds.subarray(row * count, (row + 1) * count), row * capacity);
  return all;
}

/** Computes one mask per window; it is added to the attention scores. */
function attentionBiases(
  shape: DecoderShape,
  grid: TokenGrid,
  keys: KeyGrid,
  windows: readonly (number | null)[],
): Tensor3D[] {
  if (windows.length === 0) return [];
  const mask = causalMask(grid, keys);
  return windows.map((window) => attentionBias(shape, grid, keys, mask, window));
}

function attentionBias(
  shape: DecoderShape,
  { rows, length }: TokenGrid,
  keys: KeyGrid,
  mask: Mask,
  window: number | null,
): Tensor3D {
  const visible =
    window === null ? mask.visible : logicalAnd(mask.visible, less(mask.distance, constant(window, 'int32')));
  // Finite, so that the softmax of a row without visible keys (padding) is not NaN.
  const bias = mul(sub(cast(visible, 'float32'), constant(1)), constant(1e9));
  // Tiled once for all layers: adding tensors of equal shape is much faster than broadcasting in every layer.
  const groups = shape.heads / shape.keyValueHeads;
  return reshape(tile(bias as Tensor4D, [1, shape.heads, 1, 1]), [
    rows * shape.keyValueHeads,
    groups * length,
    keys.capacity,
  ]);
}
