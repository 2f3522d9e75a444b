import { isWrittenNumber } from '@whetstone/core/util';

/** One row of a file: a parsed value, or the reason why it cannot be read. Lines count from 1. */
export type Row =
  | { readonly line: number; readonly value: unknown }
  | { readonly line: number; readonly problem: string };

/** Thrown if a row is not a valid conversation. The source catches it and reports it with file and line. */
export class RowProblem extends Error {
  override readonly name = 'RowProblem';
}

/** Describes a value for messages: `a list`, `null`, `the text "…"`, shortened. */
export function describeValue(value: unknown): string {
  if (value === undefined) return 'missing';
  if (value === null) return 'null';
  if (Array.isArray(value)) return value.length === 0 ? 'an empty list' : 'a list';
  if (typeof value === 'string') return value.length > 40 ? `the text "${value.slice(0, 40)}…"` : `the text "${value}"`;
  if (isWrittenNumber(value)) return `number ${String(value)}`;
  if (typeof value === 'object') return 'an object';
  return `${typeof value} ${String(value)}`;
}
