import { WhetstoneError } from '@whetstone/core/contract';
import type { BatchOptions, DataSummary } from '@whetstone/core/contract';

/** So many rows are listed in an error; the rest is counted. */
const LISTED_ROWS = 20;

/**
 * Applies what rows that cannot be read mean.
 *
 * @param readable rows of the same data that could be read
 * @throws DATA_UNREADABLE
 */
export function judgeUnreadable(
  unreadable: DataSummary['unreadable'],
  readable: number,
  policy: BatchOptions['unreadableRows'],
): void {
  if (policy === 'skip') return;
  const share = unreadable.length / Math.max(1, unreadable.length + readable);
  if (policy === 'error' || share > policy.maxShare) checkUnreadable(unreadable);
}

/**
 * @throws DATA_UNREADABLE with file, line and reason of every row (the first 20, and how many more) where there are any
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
      place: { ...(file === undefined ? {} : { file }), ...(line === undefined ? {} : { line }) },
      found: first.reason,
      hint:
        'Mend these rows, or set "unreadableRows" to "skip" or {"maxShare": …} to go on without them (they are ' +
        'counted and reported).',
      problems: unreadable.slice(0, LISTED_ROWS).map(({ origin, reason }) => ({
        message: reason,
        place: {
          ...(origin.file === undefined ? {} : { file: origin.file }),
          ...(origin.line === undefined ? {} : { line: origin.line }),
        },
      })),
      details: { unreadableRows: unreadable.length, rows: unreadable.slice(0, 1000) },
    },
  );
}
