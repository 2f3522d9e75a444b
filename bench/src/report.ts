export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1
    ? (sorted[middle] ?? NaN)
    : ((sorted[middle - 1] ?? NaN) + (sorted[middle] ?? NaN)) / 2;
}

/** Most memory that this process ever held, in bytes. */
export const peakMemoryBytes = (): number => process.resourceUsage().maxRSS * 1024;

/** `1.23×`. */
export const ratio = (above: number, below: number): string => `${(above / below).toFixed(2)}×`;

/** Lines for people, and one object last on standard output where it is wanted; the lines go to standard error then. */
export function report(lines: readonly string[], result: unknown, json: boolean): void {
  const stream = json ? process.stderr : process.stdout;
  for (const line of lines) stream.write(`${line}\n`);
  if (json) process.stdout.write(`${JSON.stringify(result)}\n`);
}
