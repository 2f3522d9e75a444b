/** The median of several measurements with the least and the greatest of them. */
export interface Summary {
  readonly median: number;
  readonly min: number;
  readonly max: number;
  readonly values: readonly number[];
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1
    ? (sorted[middle] ?? NaN)
    : ((sorted[middle - 1] ?? NaN) + (sorted[middle] ?? NaN)) / 2;
}

export const summarize = (values: readonly number[]): Summary => ({
  median: median(values),
  min: Math.min(...values),
  max: Math.max(...values),
  values,
});

/** `2.68 (2.60–2.75)`: the median, and the least and the greatest unless they are written alike. */
export function spread({ median: middle, min, max }: Summary, digits = 2): string {
  const [shown, least, greatest] = [middle, min, max].map((value) => value.toFixed(digits));
  return least === greatest ? `${shown}` : `${shown} (${least}–${greatest})`;
}

/** Says what the figures of a report are. */
export const medianOf = (count: number, what = 'run'): string =>
  count === 1 ? `one ${what}` : `median of ${count} ${what}s (least–greatest)`;

/** Most memory that this process ever held, in bytes. */
export const peakMemoryBytes = (): number => process.resourceUsage().maxRSS * 1024;

/** `1.23×`. */
export const ratio = (above: number, below: number): string => `${(above / below).toFixed(2)}×`;

/** Lines of a Markdown table. All columns but the first are aligned to the right. */
export function markdownTable(header: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  return [line(header), line(header.map((_, column) => (column === 0 ? '---' : '---:'))), ...rows.map(line)];
}

/** Prints lines for people. With `json` they go to standard error, and the result goes to standard output as JSON. */
export function report(lines: readonly string[], result: unknown, json: boolean): void {
  const stream = json ? process.stderr : process.stdout;
  for (const line of lines) stream.write(`${line}\n`);
  if (json) process.stdout.write(`${JSON.stringify(result)}\n`);
}
