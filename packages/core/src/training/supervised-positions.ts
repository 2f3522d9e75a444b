import { IGNORED_LABEL, type Batch } from '../contract/data.js';
import type { SupervisedPositions } from '../contract/model.js';

/** A batch, or a half of one, and its supervised positions. */
export interface Microbatch extends SupervisedPositions {
  readonly batch: Batch;
}

export const microbatchOf = (batch: Batch): Microbatch => ({ batch, ...supervisedPositions(batch) });

/**
 * Returns the targets of a batch. Position i predicts token i + 1 if both are in the same row and segment and token i +
 * 1 is supervised. The label of a segment's first token does not count, because no token of the segment precedes it.
 */
export function supervisedPositions(
  batch: Pick<Batch, 'rows' | 'length' | 'labels' | 'segmentIds' | 'weights'>,
): SupervisedPositions {
  const { rows, length, labels, segmentIds, weights } = batch;
  const positions: number[] = [];
  const targets: number[] = [];
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column + 1 < length; column++) {
      const position = row * length + column;
      const label = labels[position + 1] ?? IGNORED_LABEL;
      const segment = segmentIds[position] ?? 0;
      if (label === IGNORED_LABEL || segment === 0 || segment !== segmentIds[position + 1]) continue;
      positions.push(position);
      targets.push(label);
    }
  }
  const found = { positions: Int32Array.from(positions), targets: Int32Array.from(targets) };
  return weights === undefined
    ? found
    : { ...found, weights: Float32Array.from(positions, (position) => weights[position + 1] ?? 1) };
}

/**
 * Returns the divisor of the summed loss of these targets: the sum of their weights, or their number without weights.
 */
export function totalWeight({ targets, weights }: SupervisedPositions): number {
  return weights === undefined ? targets.length : weights.reduce((sum, weight) => sum + weight, 0);
}
