import { IGNORED_LABEL, type Batch } from '../contract/data.js';
import type { SupervisedPositions } from '../contract/model.js';

/** A batch, or rows of one that are computed beside its others, and its supervised positions. */
export interface Microbatch extends SupervisedPositions {
  readonly batch: Batch;
}

export const microbatchOf = (batch: Batch): Microbatch => ({ batch, ...supervisedPositions(batch) });

/**
 * The targets of a batch: position i predicts token i + 1 where both stand in the same row and the same segment and
 * token i + 1 is supervised. A label at the first token of a segment never counts: nothing of its segment stands before
 * it.
 */
export function supervisedPositions(
  batch: Pick<Batch, 'rows' | 'length' | 'labels' | 'segmentIds' | 'weights'>,
): SupervisedPositions {
  const { rows, length, labels, segmentIds, weights } = batch;
  const positions: number[] = [];
  const targets: number[] = [];
  for (let row = 0; row < rows; row += 1) {
    for (let column = 0; column + 1 < length; column += 1) {
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
 * What the summed loss of these targets is divided by: the sum of their weights, or their number where each counts 1.
 */
export function totalWeight({ targets, weights }: SupervisedPositions): number {
  return weights === undefined ? targets.length : weights.reduce((sum, weight) => sum + weight, 0);
}
