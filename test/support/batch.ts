import { supervisedPositions } from '@whetstone/core/training';
import type { Batch } from '@whetstone/core/contract';

/** A batch as the fixtures write it: rows of one length; `position_ids` where rows are packed. */
export interface FixtureBatch {
  readonly input_ids: readonly (readonly number[])[];
  readonly labels: readonly (readonly number[])[];
  readonly attention_mask?: readonly (readonly number[])[];
  readonly position_ids?: readonly (readonly number[])[];
}

/** Segments of a packed row: a new one starts where the positions start anew. */
function segmentsOf(positions: readonly number[]): number[] {
  let segment = 0;
  return positions.map((position) => (position === 0 ? ++segment : segment));
}

export function batchOf(fixture: FixtureBatch): Batch {
  const { input_ids: ids, labels, attention_mask: mask, position_ids: positions } = fixture;
  const rows = ids.length;
  const length = ids[0]?.length ?? 0;
  const segmentIds = Int32Array.from(
    positions === undefined ? (mask ?? ids.map((row) => row.map(() => 1))).flat() : positions.flatMap(segmentsOf),
  );
  const batch = {
    rows,
    length,
    ids: Int32Array.from(ids.flat()),
    labels: Int32Array.from(labels.flat()),
    segmentIds,
    positionIds: Int32Array.from(positions?.flat() ?? ids.flatMap((row) => row.map((_, column) => column))),
  };
  return {
    ...batch,
    samples: positions === undefined ? rows : positions.flat().filter((position) => position === 0).length,
    tokens: segmentIds.filter((segment) => segment !== 0).length,
    supervisedTokens: supervisedPositions(batch).targets.length,
  };
}
