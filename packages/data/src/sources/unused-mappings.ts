import type { DataSource } from '@whetstone/core/contract';
import { didYouMean, isRecord, ownValue } from '@whetstone/core/util';
import { detectLayout, layoutByName, type DataRecord, type Layout } from '../layouts/index.js';
import { keyOf } from '../layouts/layout.js';
import { listFromText } from '../layouts/values.js';
import type { ColumnName } from '../choices.js';
import { readRows } from '../reading/read-rows.js';
import { RowProblem } from '../reading/row.js';
import { isFileSource, type FileSet, type RowOptions } from './conversations.js';

/** At most so many rows of a source are read for the check. It ends as soon as every entry is used. */
const CHECKED_ROWS = 100_000;

/** The most names that a message lists. */
const LISTED = 12;

/** Columns that hold messages, and the columns of a message. */
const MESSAGE_LISTS: readonly ColumnName[] = ['conversation', 'messages', 'conversations', 'prompt', 'completion'];
const IN_MESSAGES: readonly ColumnName[] = ['role', 'content', 'from', 'value'];

/** What the rows of a file set use of its mappings. */
class MappingUse {
  private rows = 0;
  private conversations = 0;
  private readonly columns: Map<string, string>;
  private readonly roles: Set<string>;
  private readonly foundRoles = new Set<string>();
  private readonly foundKeys = new Set<string>();

  constructor(private readonly fileSet: FileSet) {
    const { columns = {}, roles = {} } = fileSet.options;
    this.columns = new Map(Object.entries(columns));
    this.roles = new Set(Object.keys(roles));
  }

  /** Whether no further row needs to be read. */
  get isComplete(): boolean {
    const { rows, conversations, columns, roles, fileSet } = this;
    const isUsed = columns.size === 0 && roles.size === 0;
    return isUsed || rows >= CHECKED_ROWS || conversations >= (fileSet.limit ?? Infinity);
  }

  countRow(): void {
    this.rows++;
  }

  see(record: DataRecord, { requires, allows }: Layout): void {
    const { options } = this.fileSet;
    this.conversations++;
    const used = [...requires, ...allows];
    this.seeKeys(record, (column) => used.includes(column));
    for (const column of MESSAGE_LISTS) {
      const list = used.includes(column) ? listFromText(ownValue(record, keyOf(column, options))) : null;
      for (const message of Array.isArray(list) ? list.filter(isRecord) : []) {
        this.seeKeys(message, (name) => IN_MESSAGES.includes(name));
        const role = ownValue(message, keyOf('role', options)) ?? ownValue(message, keyOf('from', options));
        if (typeof role !== 'string') continue;
        this.roles.delete(role);
        if (this.foundRoles.size < LISTED) this.foundRoles.add(role);
      }
    }
  }

  /** Returns a message for each entry that no row uses. */
  unused(of: string): readonly string[] {
    const where = this.rows < CHECKED_ROWS ? 'no row' : `none of the first ${CHECKED_ROWS} rows`;
    const message = (option: string, reason: string, name: string, found: ReadonlySet<string>): string => {
      const names = [...found];
      const listed = names.length === 0 ? '' : ` (found: ${names.map((each) => JSON.stringify(each)).join(', ')})`;
      const hint = didYouMean(name, names) ?? '';
      return `The option ${option} of ${of} has no effect: ${where} ${reason}${listed}. ${hint}`.trimEnd();
    };
    return [
      ...[...this.columns].map(([column, key]) =>
        message(
          `columns.${column}`,
          `has the column ${JSON.stringify(key)} in a layout with "${column}"`,
          key,
          this.foundKeys,
        ),
      ),
      ...[...this.roles].map((role) =>
        message(`roles.${role}`, `has a message of the role ${JSON.stringify(role)}`, role, this.foundRoles),
      ),
    ];
  }

  private seeKeys(record: DataRecord, isUsed: (column: ColumnName) => boolean): void {
    if (this.columns.size === 0) return;
    for (const [column, key] of this.columns)
      if (isUsed(column as ColumnName) && Object.hasOwn(record, key)) this.columns.delete(column);
    for (const key of Object.keys(record)) if (this.foundKeys.size < LISTED) this.foundKeys.add(key);
  }
}

/** Returns the configured layout, or the one of a record; null if it is not recognized. */
function layoutOf(record: DataRecord, options: RowOptions): Layout | null {
  const { layout: name = 'auto' } = options;
  if (name !== 'auto') return layoutByName(name) ?? null;
  try {
    return detectLayout(record, options);
  } catch (error) {
    if (error instanceof RowProblem) return null;
    throw error;
  }
}

/**
 * Returns a message for each entry of `columns` and `roles` that no row of a source uses: a misspelled name would leave
 * the column or role as it is, without an error. Reads rows only while an entry is unused; none of other sources than
 * files.
 *
 * @param title names the data in the messages
 */
export async function unusedMappings(source: DataSource, title: string): Promise<readonly string[]> {
  const messages: string[] = [];
  for (const fileSet of isFileSource(source) ? source.fileSets : []) {
    const use = new MappingUse(fileSet);
    for (const file of fileSet.files) {
      if (use.isComplete) break;
      let layout: Layout | null = null;
      for await (const row of readRows(file, fileSet.options)) {
        if (use.isComplete) break;
        use.countRow();
        if ('problem' in row || !isRecord(row.value)) continue;
        layout ??= layoutOf(row.value, fileSet.options);
        if (layout !== null) use.see(row.value, layout);
      }
    }
    messages.push(
      ...use.unused(fileSet.name === undefined ? `the ${title}` : `the source ${fileSet.name} of the ${title}`),
    );
  }
  return messages;
}
