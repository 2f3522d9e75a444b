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
import { fusedKernel } from './kernels.js';

/** The capabilities of a device's library for attention that does not store the scores. */
export interface FlashAttentionSupport {
  /** Maximum number of features of a head. The number must be a multiple of eight. */
  readonly mostFeatures: number;
  /** Whether rows may contain several segments. */
  readonly packed: boolean;
}

/** Returns the capabilities of the current backend in its current precision; null without a kernel. */
export function flashAttentionSupport(): FlashAttentionSupport | null {
  return (backend() as { readonly flashAttention?: FlashAttentionSupport | null }).flashAttention ?? null;
}

/** The lengths and offsets of the segments of packed rows, on the device. Created once for all layers. */
export interface SegmentOffsets {
  /** The lengths of the segments of all rows, one after the other, padded with zeros: [rows, segments], int32. */
  readonly lengths: Tensor;
  /** The first element of each segment within the tensor, then the end of the last: [rows, segments + 1], int32. */
  readonly queryOffsets: Tensor;
  readonly keyOffsets: Tensor;
}

/**
 * A causal mask within segments: a token attends to the tokens of its segment up to itself, or only to the last
 * `window` of these.
 */
export interface CausalSegments {
  /** Null if every row is one segment. */
  readonly offsets: SegmentOffsets | null;
  readonly window: number | null;
}

/** Returns the lengths of the segments (runs of equal ids) of each row of [rows × length]. */
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
 * Computes the attention of `query` [rows, heads, length, headDim] to `key` and `value` [rows, kvHeads, length,
 * headDim] of the same tokens, as [rows × length, heads × headDim]. The query is already scaled.
 *
 * Requires {@link flashAttentionSupport}. Computed in bfloat16 with float32 sums. The backward pass needs only the
 * result and one number per query.
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
  { offsets, window }: CausalSegments,
): Tensor2D {
  const [rows, heads, length, headDim] = query.shape;
  const attributes = { window: window ?? 0 };
  return customGradient<Tensor2D>(
    [query, key, value],
    () => {
      const operands = {
        query: swapHeadsAndTokens(query),
        key: swapHeadsAndTokens(key),
        value: swapHeadsAndTokens(value),
      };
      const [result, statistics] = run('WhetstoneFlashAttention', { ...operands, ...offsets }, attributes) as [
        Tensor,
        Tensor,
      ];
      return {
        value: reshape(result, [rows * length, heads * headDim]),
        saved: [operands.query, operands.key, operands.value, result, statistics, ...Object.values(offsets ?? {})],
      };
    },
    (gradientOfResult, saved) => {
      const savedByName = Object.fromEntries(
        ['query', 'key', 'value', 'result', 'statistics', ...Object.keys(offsets ?? {})].map((name, position) => [
          name,
          savedAt(saved, position),
        ]),
      );
      const gradients = run(
        'WhetstoneFlashAttentionGrad',
        { gradient: reshape(gradientOfResult, [rows, length, heads, headDim]), ...savedByName },
        attributes,
      );
      return gradients.map((gradient) => swapHeadsAndTokens(gradient as Tensor4D));
    },
  );
}

function run(
  name: string,
  operands: Readonly<Record<string, Tensor>>,
  attributes: { readonly window: number },
): Tensor[] {
  const outputs = fusedKernel(name, { ...operands }, { ...attributes });
  if (outputs === null)
    throw new WhetstoneError('INTERNAL', `The backend reports flash attention, but lacks the kernel ${name}.`);
  return outputs;
}

/** Swaps the axes of heads and tokens. It is its own inverse. */
const swapHeadsAndTokens = (x: Tensor4D): Tensor4D => transpose(x, [0, 2, 1, 3]) as Tensor4D;

/**
 * Returns the offsets of segments of these lengths for heads of `headDim` features. Returns null if every row is one
 * segment.
 */
export function segmentOffsets(
  lengths: readonly (readonly number[])[],
  {
    heads,
    keyValueHeads,
    headDim,
  }: { readonly heads: number; readonly keyValueHeads: number; readonly headDim: number },
): SegmentOffsets | null {
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
  const elementOffsets = (perToken: number): Tensor =>
    tensor2d(
      begins.map((token) => token * perToken),
      [rows, most + 1],
      'int32',
    );
  const filled = Int32Array.from({ length: rows * most }, (_, segment) => all[segment] ?? 0);
  return {
    lengths: tensor2d(filled, [rows, most], 'int32'),
    queryOffsets: elementOffsets(heads * headDim),
    keyOffsets: elementOffsets(keyValueHeads * headDim),
  };
}

/**
 * Returns the maximum number of segments per row, rounded up to a power of two, so that similar batches share a graph.
 */
function mostSegments(lengths: readonly (readonly number[])[]): number {
  const most = lengths.reduce((largest, row) => Math.max(largest, row.length), 1);
  return 2 ** Math.ceil(Math.log2(most));
}
