/** One row as a file gives it: a parsed value, or the reason why there is none. Lines count from 1. */
export type Row =
  | { readonly line: number; readonly value: unknown }
  | { readonly line: number; readonly problem: string };

/**
 * Why a row cannot be used: thrown while one row is looked at, and caught by the source, which reports it with file and
 * line.
 */
export class RowProblem extends Error {
  override readonly name = 'RowProblem';
}

/** What a value is, in a word or two for messages: `a list`, `null`, `"text"` shortened. */
export function describeValue(value: unknown): string {
  if (value === undefined) return 'nothing';
  if (value === null) return 'null';
  if (Array.isArray(value)) return value.length === 0 ? 'an empty list' : 'a list';
  if (typeof value === 'string') return value.length > 40 ? `the text "${value.slice(0, 40)}…"` : `the text "${value}"`;
  if (typeof value === 'object') return 'an object';
  return `${typeof value} ${String(value)}`;
}
