import type { Conversation, Json } from '@whetstone/core/contract';
import type { ColumnName } from '../choices.js';

export interface LayoutOptions {
  /** What a part is called in the file, where it is not called by its own name. */
  readonly columns?: Readonly<Partial<Record<ColumnName, string>>>;
  /** What roles are called in the file: `{"customer": "user", "agent": "assistant"}`. */
  readonly roles?: Readonly<Record<string, string>>;
}

export type DataRecord = Readonly<Record<string, unknown>>;

/** A conversation as a layout reads it, before it is known where it stood. */
type ParsedRecord = Omit<Conversation, 'origin' | 'columns'>;

/** One way of writing a conversation down. */
export interface Layout {
  readonly name: string;
  /** The keys that a record of this layout has at least. */
  readonly requires: readonly ColumnName[];
  /** The further keys it may have. Everything else in a record is a column, kept as it is. */
  readonly allows: readonly ColumnName[];
  /** Reads a record. Throws RowProblem where it does not fit. */
  read(record: DataRecord, options: LayoutOptions): ParsedRecord;
}

/** The key that holds a part under this mapping. */
export function keyOf(column: ColumnName, options: LayoutOptions): string {
  return options.columns?.[column] ?? column;
}

export function valueOf(record: DataRecord, column: ColumnName, options: LayoutOptions): unknown {
  return record[keyOf(column, options)];
}

/** Whatever of a record its layout does not use: topic, source, difficulty, … */
export function furtherColumns(
  record: DataRecord,
  layout: Layout,
  options: LayoutOptions,
): Record<string, Json> | undefined {
  const used = new Set([...layout.requires, ...layout.allows].map((column) => keyOf(column, options)));
  const further = Object.entries(record).filter(([key]) => !used.has(key));
  return further.length === 0 ? undefined : (Object.fromEntries(further) as Record<string, Json>);
}
