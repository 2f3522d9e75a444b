import {
  cast,
  equal,
  greaterEqual,
  less,
  logicalAnd,
  logicalOr,
  mul,
  reshape,
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
import { constant, type AttentionBlock } from '@whetstone/core/ops';
import {
  flashAttentionSupport,
  segmentLengths,
  segmentOffsets,
  type CausalSegments,
  type SegmentOffsets,
} from '@whetstone/core/ops/internal';
import { frequencyTable, rotaryTables, type LayerTables } from './rotary-tables.js';
import type { DecoderShape, LayerShape } from './shape.js';

/** The keys of a pass as the mask needs them: host data, [rows × count]. */
export interface KeyGrid {
  /** Keys per row. */
  readonly count: number;
  readonly segmentIds: Int32Array;
}

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
export interface ForwardContext {
  readonly rows: number;
  readonly length: number;
  /** Null if every cell has its own token. */
  readonly cellMap: CellMap | null;
  /**
   * The rotary tables of a layer, or null if it has no rotary positions. The query's tables include the attention
   * scale.
   */
  tables(layer: LayerShape): LayerTables | null;
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

/** Returns the keys of each row: `prefixLength` keys that all tokens may attend to, then those of the tokens. */
export function keysOf({ rows, length, segmentIds: own }: TokenGrid, prefixLength: number): KeyGrid {
  const count = prefixLength + length;
  const segmentIds = new Int32Array(rows * count).fill(SHARED_SEGMENT);
  for (let row = 0; row < rows; row++)
    segmentIds.set(own.subarray(row * length, (row + 1) * length), row * count + prefixLength);
  return { count, segmentIds };
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
  const longest = grid.positionIds.reduce((largest, position) => Math.max(largest, position), 0) + 1;
  const flash = flashSegments(shape, grid, keys);
  const windows = flash === null ? windowsOf(shape) : [];
  const blocks = new Map(windows.map((window) => [window, attentionBlocks(grid, keys, window)]));
  return {
    rows,
    length,
    cellMap,
    tables: createTables(
      shape,
      tensor(grid.positionIds, [rows, 1, length, 1], 'int32'),
      shape.ropes.map((rope) => frequencyTable(rope, shape.headDim, [longest])),
    ),
    flash: (layer) => (flash === null ? null : { ...flash, window: layer.window }),
    bias: createBiases(shape, [rows, length, keys.count], windows, () => causalMask(grid, keys)),
    blocks: (layer) => blocks.get(layer.window) ?? null,
  };
}

/**
 * Creates the context of a pass whose keys are in a cache. There, the index of a key is its position.
 *
 * @param positions of the tokens, [rows × length], int32
 * @param frequencies of each rope: see `frequencyTable`
 * @param keys keys per row; those after a query are masked
 */
export function createCachedContext(
  shape: DecoderShape,
  { rows, length }: Pick<TokenGrid, 'rows' | 'length'>,
  positions: Tensor,
  frequencies: readonly Tensor[],
  keys: number,
): ForwardContext {
  const byRow = reshape(positions, [rows, 1, length, 1]);
  return {
    rows,
    length,
    cellMap: null,
    tables: createTables(shape, byRow, frequencies),
    flash: () => null,
    bias: createBiases(shape, [rows, length, keys], windowsOf(shape), () => {
      const distance = sub(byRow, keyIndices(keys));
      return { visible: greaterEqual(distance, constant(0, 'int32')), distance };
    }),
    blocks: () => null,
  };
}

/** Computes the rotary tables of all ropes. Returns those of a layer. */
function createTables(
  shape: DecoderShape,
  positions: Tensor,
  frequencies: readonly Tensor[],
): ForwardContext['tables'] {
  const tables = frequencies.map((table, rope) => rotaryTables(shape, rope, positions, table));
  return ({ rope }) => (rope === null ? null : (tables[rope] ?? null));
}

/**
 * Returns the segments for flash attention, or null if it cannot be used: the device lacks it, the head size is
 * unsupported, scores have a soft cap, or keys precede the tokens of the row (prefix, prompt embeddings).
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
  if (keys.count !== length || keys.segmentIds.some((segment) => segment < 0)) return null;
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
  const zero = constant(0, 'int32');
  const index = keyIndices(keys.count);
  const distance = sub(tensor(queryIndex, [1, 1, length, 1], 'int32'), index);
  const ofQuery = tensor(segmentIds, [rows, 1, length, 1], 'int32');
  const ofKey = tensor(keys.segmentIds, [rows, 1, 1, keys.count], 'int32');
  const isShared = less(ofKey, zero);
  const visible = logicalAnd(logicalOr(equal(ofQuery, ofKey), isShared), greaterEqual(distance, zero));
  if (countSharedKeys(keys) === 0) return { visible, distance };
  // Other documents or padding may lie between a query and the shared keys, whose positions are their indices.
  const fromShared = sub(tensor(positionIds, [rows, 1, length, 1], 'int32'), index);
  return { visible, distance: where(isShared, fromShared, distance) };
}

/** Returns the index of each key, [1, 1, 1, keys]. */
const keyIndices = (keys: number): Tensor =>
  tensor(
    Int32Array.from({ length: keys }, (_, key) => key),
    [1, 1, 1, keys],
    'int32',
  );

/** Returns the mask [rows × kvHeads, groups × length, keys] of a window; it is added to the attention scores. */
function biasOf(
  shape: DecoderShape,
  { visible: causal, distance }: Mask,
  [rows, length, keys]: [number, number, number],
  window: number | null,
): Tensor3D {
  const visible = window === null ? causal : logicalAnd(causal, less(distance, constant(window, 'int32')));
  // Finite, so that the softmax of a row without visible keys (padding) is not NaN.
  const bias = mul(sub(cast(visible, 'float32'), constant(1)), constant(1e9));
  // Tiled once for all layers: adding tensors of equal shape is much faster than broadcasting in every layer.
  const groups = shape.heads / shape.keyValueHeads;
  return reshape(tile(bias as Tensor4D, [1, shape.heads, 1, 1]), [rows * shape.keyValueHeads, groups * length, keys]);
}

const windowsOf = ({ layers }: DecoderShape): readonly (number | null)[] => [
  ...new Set(layers.map(({ window }) => window)),
];

/** Computes the masks of some windows from one mask of all earlier keys. Returns the mask of a layer. */
function createBiases(
  shape: DecoderShape,
  sizes: [number, number, number],
  windows: readonly (number | null)[],
  mask: () => Mask,
): ForwardContext['bias'] {
  const made = tidy(() => {
    if (windows.length === 0) return [];
    const all = mask();
    return windows.map((window) => biasOf(shape, all, sizes, window));
  });
  const biases = new Map(windows.map((window, index) => [window, made[index]]));
  return ({ window }) => {
    const bias = biases.get(window);
    if (bias === undefined) throw new Error(`No mask was created for the window ${window}.`);
    return bias;
  };
}
