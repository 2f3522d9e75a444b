import type { Conversation, Json } from '@whetstone/core/contract';
import type { ColumnName } from '../choices.js';

export interface LayoutOptions {
  /** Maps standard names to the names in the file, if they differ: `{"prompt": "question"}`. */
  readonly columns?: Readonly<Partial<Record<ColumnName, string>>>;
  /** Maps roles in the file to standard roles: `{"customer": "user", "agent": "assistant"}`. */
  readonly roles?: Readonly<Record<string, string>>;
}

export type DataRecord = Readonly<Record<string, unknown>>;

type ParsedRecord = Omit<Conversation, 'origin' | 'columns'>;

/** A format of conversations in records. */
export interface Layout {
  readonly name: string;
  /** The keys that every record of this layout has. */
  readonly requires: readonly ColumnName[];
  /** The optional keys. All other keys of a record become columns of the conversation. */
  readonly allows: readonly ColumnName[];
  /** @throws `RowProblem` if the record does not match the layout */
  read(record: DataRecord, options: LayoutOptions): ParsedRecord;
}

/** Returns the key of a column in the file. */
export function keyOf(column: ColumnName, options: LayoutOptions): string {
  return options.columns?.[column] ?? column;
}

export function valueOf(record: DataRecord, column: ColumnName, options: LayoutOptions): unknown {
  return record[keyOf(column, options)];
}

/** Returns the columns of a record that its layout does not use: topic, source, difficulty, … */
export function furtherColumns(
  record: DataRecord,
  layout: Layout,
  options: LayoutOptions,
): Record<string, Json> | undefined {
  const used = new Set([...layout.requires, ...layout.allows].map((column) => keyOf(column, options)));
  const further = Object.entries(record).filter(([key]) => !used.has(key));
  return further.length === 0 ? undefined : (Object.fromEntries(further) as Record<string, Json>);
}
