import type { Microbatch } from './supervised-positions.js';

const MIN_BUCKET = 16;

/** The next of few lengths: eight to each doubling, so that at most an eighth is empty. */
export function bucketLength(length: number): number {
  const step = Math.max(MIN_BUCKET, 2 ** Math.floor(Math.log2(Math.max(1, length))) / 8);
  return step * Math.ceil(length / step);
}

/**
 * A batch and its supervised positions filled up to one of few shapes, for backends that compile each shape anew: rows
 * with tokens of segment 0, which nothing looks at, positions with targets of weight 0. The loss and its gradients stay
 * what they are.
 */
export function padToShapeBucket({ batch, positions, targets, weights }: Microbatch): Microbatch {
  const length = bucketLength(batch.length);
  const count = bucketLength(positions.length);
  const rowOf = (position: number): number => Math.floor(position / batch.length);
  const supervised = {
    // What is added looks at the first position, and counts nothing.
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

/** Rows of `length` numbers as rows of `longer` ones, zeros behind. */
function padRows<A extends Int32Array | Float32Array>(values: A, rows: number, length: number, longer: number): A {
  const made = new (values.constructor as new (count: number) => A)(rows * longer);
  for (let row = 0; row < rows; row++) made.set(values.subarray(row * length, (row + 1) * length), row * longer);
  return made;
}
