import { WhetstoneError } from '@whetstone/core/contract';
import type { BatchOptions, DataSummary } from '@whetstone/core/contract';

/** Rows that an error lists; further rows are only counted. */
const LISTED_ROWS = 20;

/**
 * Applies the policy for unreadable rows.
 *
 * @param readable number of rows of the same data that were read
 * @throws `DATA_UNREADABLE` if the policy does not allow this many unreadable rows
 */
export function enforceUnreadableLimit(
  unreadable: DataSummary['unreadable'],
  readable: number,
  policy: BatchOptions['unreadableRows'],
): void {
  if (policy === 'skip') return;
  const share = unreadable.length / Math.max(1, unreadable.length + readable);
  if (policy === 'error' || share > policy.maxShare) checkUnreadable(unreadable);
}

/**
 * Checks that all rows could be read.
 *
 * @throws `DATA_UNREADABLE` with file, line and reason of the first 20 rows and the count of all
 */
export function checkUnreadable(unreadable: DataSummary['unreadable']): void {
  const first = unreadable[0];
  if (first === undefined) return;
  const { file, line } = first.origin;
  const further = unreadable.length - LISTED_ROWS;
  const count = unreadable.length === 1 ? 'One row cannot be read' : `${unreadable.length} rows cannot be read`;
  throw new WhetstoneError(
    'DATA_UNREADABLE',
    `${count}${further > 0 ? `; the first ${LISTED_ROWS} are listed` : ''}.`,
    {
      place: { file, line },
      found: first.reason,
      hint:
        'Correct these rows. To skip them, set "unreadableRows" to "skip" or {"maxShare": …}; skipped rows are ' +
        'counted and reported.',
      problems: unreadable.slice(0, LISTED_ROWS).map(({ origin, reason }) => ({
        message: reason,
        place: {
          file: origin.file,
          line: origin.line,
        },
      })),
      details: { unreadableRows: unreadable.length, rows: unreadable.slice(0, 1000) },
    },
  );
}
