import {
  backend,
  reshape,
  tensor2d,
  transpose,
  type Tensor,
  type Tensor2D,
  type Tensor4D,
} from '@tensorflow/tfjs-core';
import { WhetstoneError } from '../contract/errors.js';
import { customGradient, savedAt } from './custom-gradient.js';
import { fusedKernel } from './fused-kernel.js';

/** What a device's library computes attention of without ever writing scores down. */
export interface FlashAttentionSupport {
  /** Most features of a head; it has to be a multiple of eight. */
  readonly mostFeatures: number;
  /** Whether rows may hold several segments. */
  readonly packed: boolean;
}

/** What the backend in use can do, as it multiplies now; null where it has no such kernel. */
export function flashAttentionSupport(): FlashAttentionSupport | null {
  return (backend() as { readonly flashAttention?: FlashAttentionSupport | null }).flashAttention ?? null;
}

/** Where the segments of packed rows lie, on the device; made once for all layers. */
export interface SegmentPlaces {
  /** The segments' lengths, all rows' one after the other, then zeros: [rows, segments], int32. */
  readonly lengths: Tensor;
  /** At which element of the whole tensor each segment begins, then where it ends: [rows, segments + 1], int32. */
  readonly queryOffsets: Tensor;
  readonly keyOffsets: Tensor;
}

/**
 * Who sees whom: a token looks at those of its own segment up to itself, of these at the last `window` where that is
 * not null.
 */
export interface CausalSegments {
  /** Null where every row is one segment. */
  readonly places: SegmentPlaces | null;
  readonly window: number | null;
}

/** Lengths of the stretches of equal ids that each row of [rows × length] consists of. */
export function segmentLengths(rows: number, length: number, segmentIds: Int32Array): number[][] {
  return Array.from({ length: rows }, (_, row) => {
    const lengths: number[] = [];
    for (let column = 0; column < length; column++) {
      const at = row * length + column;
      if (column > 0 && segmentIds[at] === segmentIds[at - 1]) lengths[lengths.length - 1] = (lengths.at(-1) ?? 0) + 1;
      else lengths.push(1);
    }
    return lengths;
  });
}

/**
 * Attention of `query` [rows, heads, length, headDim] to `key` and `value` [rows, kvHeads, length, headDim] of the same
 * tokens, as [rows × length, heads × headDim], where {@link flashAttentionSupport} says that it can be had. The query
 * already carries the scale. Computed in bfloat16 with sums in float32; what is kept for the way back is the result and
 * a number a query.
 *
 * Fused kernels, on [rows, length, heads, headDim]: `WhetstoneFlashAttention {query, key, value, and for packed rows
 * lengths [rows, segments], queryOffsets and keyOffsets [rows, segments + 1]; window (0: none)}` → [result, statistics
 * [rows × segments, heads, length]]; `WhetstoneFlashAttentionGrad {gradient, query, key, value, result, statistics, the
 * same}` → [gradient of query, of key, of value].
 */
export function flashAttention(
  query: Tensor4D,
  key: Tensor4D,
  value: Tensor4D,
  { places, window }: CausalSegments,
): Tensor2D {
  const [rows, heads, length, headDim] = query.shape;
  const attributes = { window: window ?? 0 };
  return customGradient<Tensor2D>(
    [query, key, value],
    () => {
      const operands = { query: tokensFirst(query), key: tokensFirst(key), value: tokensFirst(value) };
      const [result, statistics] = run('WhetstoneFlashAttention', { ...operands, ...places }, attributes) as [
        Tensor,
        Tensor,
      ];
      return {
        value: reshape(result, [rows * length, heads * headDim]),
        saved: [operands.query, operands.key, operands.value, result, statistics, ...Object.values(places ?? {})],
      };
    },
    (given, saved) => {
      const kept = Object.fromEntries(
        ['query', 'key', 'value', 'result', 'statistics', ...Object.keys(places ?? {})].map((name, position) => [
          name,
          savedAt(saved, position),
        ]),
      );
      const gradients = run(
        'WhetstoneFlashAttentionGrad',
        { gradient: reshape(given, [rows, length, heads, headDim]), ...kept },
        attributes,
      );
      return gradients.map((gradient) => tokensFirst(gradient as Tensor4D));
    },
  );
}

function run(
  name: string,
  operands: Readonly<Record<string, Tensor>>,
  attributes: { readonly window: number },
): Tensor[] {
  const made = fusedKernel(name, { ...operands }, { ...attributes });
  if (made === null)
    throw new WhetstoneError('INTERNAL', `The backend says that it has flash attention, but not ${name}.`);
  return made;
}

/** The axes of heads and of tokens exchanged: its own inverse. */
const tokensFirst = (x: Tensor4D): Tensor4D => transpose(x, [0, 2, 1, 3]) as Tensor4D;

/**
 * The places of segments of these lengths in `rows` rows, for heads of `headDim` features. Null where every row is one
 * segment.
 */
export function segmentPlaces(
  lengths: readonly (readonly number[])[],
  {
    heads,
    keyValueHeads,
    headDim,
  }: { readonly heads: number; readonly keyValueHeads: number; readonly headDim: number },
): SegmentPlaces | null {
  const rows = lengths.length;
  const most = mostSegments(lengths);
  if (most === 1) return null;
  const all = lengths.flat();
  const tokens = all.reduce((sum, size) => sum + size, 0);
  const begins = new Int32Array(rows * (most + 1)).fill(tokens);
  let begin = 0;
  all.forEach((size, segment) => {
    begins[segment] = begin;
    begin += size;
  });
  const offsets = (perToken: number): Tensor =>
    tensor2d(
      begins.map((token) => token * perToken),
      [rows, most + 1],
      'int32',
    );
  const filled = Int32Array.from({ length: rows * most }, (_, segment) => all[segment] ?? 0);
  return {
    lengths: tensor2d(filled, [rows, most], 'int32'),
    queryOffsets: offsets(heads * headDim),
    keyOffsets: offsets(keyValueHeads * headDim),
  };
}

/** Segments a row for which there is room: a power of two, so that batches of a similar kind are compiled once. */
function mostSegments(lengths: readonly (readonly number[])[]): number {
  const most = lengths.reduce((largest, row) => Math.max(largest, row.length), 1);
  return 2 ** Math.ceil(Math.log2(most));
}
