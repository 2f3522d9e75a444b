import type { ForwardInput } from '@whetstone/core/contract';

/** The segment of padding. */
export const IGNORED_SEGMENT = 0;

/** One document of a row: tokens that attend only to one another. */
export interface Segment {
  /** Index of its first token in [rows × length]. */
  readonly start: number;
  readonly ids: Int32Array;
  readonly positionIds: Int32Array;
}

/** Returns the documents of a batch in order, without padding. */
export function segmentsOf({ rows, length, ids, segmentIds, positionIds }: ForwardInput): Segment[] {
  const segments: Segment[] = [];
  for (let row = 0; row < rows; row++) {
    const end = (row + 1) * length;
    for (let start = row * length; start < end;) {
      let next = start + 1;
      while (next < end && segmentIds[next] === segmentIds[start]) next++;
      if (segmentIds[start] !== IGNORED_SEGMENT)
        segments.push({ start, ids: ids.slice(start, next), positionIds: positionIds.slice(start, next) });
      start = next;
    }
  }
  return segments;
}
