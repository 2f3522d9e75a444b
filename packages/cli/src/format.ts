import type { TransformReport } from '@whetstone/core/contract';

/** A loss with four digits, or `–` if there is none. */
export const loss = (value: number | null): string => (value === null ? '–' : value.toFixed(4));

/** `2.0e-4`. */
export const rate = (value: number): string => value.toExponential(2).replace('e+0', '');

/** Formats rows as a table with aligned columns. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths: number[] = [];
  for (const row of rows)
    for (const [column, cell] of row.entries()) widths[column] = Math.max(widths[column] ?? 0, cell.length);
  return rows
    .map((row) =>
      row.map((cell, column) => (column === row.length - 1 ? cell : cell.padEnd(widths[column] ?? 0))).join('  '),
    )
    .join('\n');
}

/** Formats the reports of transforms: conversations in and out, removals by reason and changes by kind. */
export function transformTable(reports: readonly TransformReport[]): string {
  const counts = (all: Readonly<Record<string, number>>): string =>
    Object.entries(all)
      .map(([kind, count]) => `${count} ${kind}`)
      .join(', ');
  return table(
    reports.map(({ name, conversationsIn, conversationsOut, removed, changed }) => [
      name,
      `${conversationsIn} → ${conversationsOut}`,
      counts(removed),
      counts(changed),
    ]),
  );
}
