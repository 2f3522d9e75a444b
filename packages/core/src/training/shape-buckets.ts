import type { Microbatch } from './supervised-positions.js';

const MIN_BUCKET = 16;

/** Rounds a length up to a bucket. Each doubling has eight buckets, so that at most an eighth is padding. */
export function bucketLength(length: number): number {
  const step = Math.max(MIN_BUCKET, 2 ** Math.floor(Math.log2(Math.max(1, length))) / 8);
  return step * Math.ceil(length / step);
}

/**
 * Pads a batch and its supervised positions to a bucket, for backends that compile each shape separately. Rows get
 * tokens of segment 0, to which no token attends; positions get targets of weight 0. Loss and gradients do not change.
 */
export function padToShapeBucket({ batch, positions, targets, weights }: Microbatch): Microbatch {
  const length = bucketLength(batch.length);
  const count = bucketLength(positions.length);
  const rowOf = (position: number): number => Math.floor(position / batch.length);
  const supervised = {
    // Added entries refer to the first position and have weight 0.
    positions: padArray(
      positions.map((position) => position + rowOf(position) * (length - batch.length)),
      count,
    ),
    targets: padArray(targets, count),
    weights: padArray(weights ?? new Float32Array(positions.length).fill(1), count),
  };
  if (length === batch.length) return { batch, ...supervised };
  const wide = <A extends Int32Array | Float32Array>(values: A): A => padRows(values, batch.rows, batch.length, length);
  const { ids, labels, segmentIds, positionIds } = batch;
  return {
    batch: {
      ...batch,
      length,
      ids: wide(ids),
      labels: wide(labels),
      segmentIds: wide(segmentIds),
      positionIds: wide(positionIds),
      ...(batch.weights === undefined ? {} : { weights: wide(batch.weights) }),
    },
    ...supervised,
  };
}

function padArray<A extends Int32Array | Float32Array>(values: A, count: number): A {
  const made = new (values.constructor as new (count: number) => A)(count);
  made.set(values);
  return made;
}

/** Pads rows of `length` numbers with zeros at their ends to `longer` numbers. */
function padRows<A extends Int32Array | Float32Array>(values: A, rows: number, length: number, longer: number): A {
  const made = new (values.constructor as new (count: number) => A)(rows * longer);
  for (let row = 0; row < rows; row++) made.set(values.subarray(row * length, (row + 1) * length), row * longer);
  return made;
}
