import type { Conversation, DataSource, DataSummary, Origin } from '@whetstone/core/contract';
import { detectLayout, furtherColumns, layoutByName, type Layout, type LayoutName, type LayoutOptions } from '../layouts/index.js';
import { checkJson } from '../layouts/values.js';
import { describeValue, isRecord, RowProblem, type Row } from '../reading/row.js';
import { expandFiles } from '../reading/files.js';
import { readRows, type ReadOptions } from '../reading/read-rows.js';

export interface ConversationSourceOptions extends LayoutOptions, ReadOptions {
  /** Files, folders or globs. */
  readonly path: string | readonly string[];
  /** How the rows are written; `auto` looks at each file's first row that can be told. */
  readonly layout?: LayoutName | 'auto';
  /** Take only the first this many conversations. */
  readonly limit?: number | null;
}

/** What one file's rows have in common. */
interface FileReading {
  layout: Layout | undefined;
}

function readRecord(row: Row, reading: FileReading, options: LayoutOptions): Omit<Conversation, 'origin'> {
  if ('problem' in row) throw new RowProblem(row.problem);
  if (!isRecord(row.value)) throw new RowProblem(`the row is ${describeValue(row.value)}, where an object is expected`);
  const layout = reading.layout ?? detectLayout(row.value, options);
  const parsed = layout.read(row.value, options);
  const columns = furtherColumns(row.value, layout, options);
  if (columns !== undefined) checkJson(columns, 'the row');
  reading.layout = layout;
  return columns === undefined ? parsed : { ...parsed, columns };
}

/**
 * Conversations of files, in the order of the files and their lines. Each iteration reads the files anew, in constant memory. A row that cannot be read
 * is left out and listed in `unreadable` with file, line and reason: whoever iterates decides what that means (see {@link checkUnreadable}).
 *
 * @throws FILE_NOT_FOUND, FILE_UNREADABLE while iterating
 */
export async function createConversationSource(options: ConversationSourceOptions, baseFolder: string): Promise<DataSource> {
  const files = await expandFiles(typeof options.path === 'string' ? [options.path] : options.path, baseFolder);
  const stated = options.layout === undefined || options.layout === 'auto' ? undefined : layoutByName(options.layout);
  const limit = options.limit ?? Infinity;
  const unreadable: { origin: Origin; reason: string }[] = [];

  async function* conversations(): AsyncGenerator<Conversation> {
    unreadable.length = 0;
    let rows = 0;
    let taken = 0;
    for (const file of files) {
      const reading: FileReading = { layout: stated };
      for await (const row of readRows(file, options)) {
        if (taken >= limit) return;
        const origin: Origin = { file, line: row.line, index: rows++ };
        let record: Omit<Conversation, 'origin'>;
        try {
          record = readRecord(row, reading, options);
        } catch (error) {
          if (!(error instanceof RowProblem)) throw error;
          unreadable.push({ origin, reason: error.message });
          continue;
        }
        taken++;
        yield { ...record, origin };
      }
    }
  }

  return {
    conversations,
    get unreadable(): DataSummary['unreadable'] {
      return unreadable;
    },
    files,
  };
}
