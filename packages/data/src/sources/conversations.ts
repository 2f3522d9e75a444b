import type { Conversation, DataSource, DataSummary, Origin } from '@whetstone/core/contract';
import { detectLayout, furtherColumns, layoutByName, type Layout, type LayoutOptions } from '../layouts/index.js';
import type { LayoutName } from '../choices.js';
import { checkJson } from '../layouts/values.js';
import { describeValue, RowProblem, type Row } from '../reading/row.js';
import { expandFiles } from '../reading/files.js';
import { readRows, type ReadOptions } from '../reading/read-rows.js';
import { isRecord } from '@whetstone/core/util';

/** How the rows of files are taken; plain data, that another thread can be sent. */
export interface RowOptions extends LayoutOptions, ReadOptions {
  /** How the rows are written; `auto` looks at each file's first row that can be told. */
  readonly layout?: LayoutName | 'auto';
}

export interface ConversationSourceOptions extends RowOptions {
  /** Files, folders or globs. */
  readonly path: string | readonly string[];
  /** Take only the first this many conversations. */
  readonly limit?: number | null;
}

/** Files that are read in one way. */
export interface SourcePart {
  readonly files: readonly string[];
  readonly options: RowOptions;
  readonly limit: number | null;
  /** Put into each conversation as its column `source`. */
  readonly name?: string;
}

/** A source of files, with what other threads need to read them. */
export interface FileSource extends DataSource {
  readonly parts: readonly SourcePart[];
  /** Takes what other threads could not read as that of the latest pass. */
  adopt(unreadable: DataSummary['unreadable']): void;
}

export function isFileSource(source: DataSource): source is FileSource {
  return 'parts' in source && 'adopt' in source;
}

/** Makes conversations of the rows of one file. Throws RowProblem where a row cannot be one. */
export interface RowReader {
  /** The layout that is stated, or that the rows so far have shown; null where none has yet. */
  readonly layout: string | null;
  read(row: Row, origin: Origin): Conversation;
}

/** @param known the name of the file's layout, where earlier rows have shown it */
export function createRowReader(options: RowOptions, name?: string, known: string | null = null): RowReader {
  const stated = options.layout === undefined || options.layout === 'auto' ? known : options.layout;
  let layout: Layout | undefined = stated === null ? undefined : layoutByName(stated);
  return {
    get layout() {
      return layout?.name ?? null;
    },
    read(row, origin) {
      if ('problem' in row) throw new RowProblem(row.problem);
      if (!isRecord(row.value))
        throw new RowProblem(`the row is ${describeValue(row.value)}, where an object is expected`);
      const found = layout ?? detectLayout(row.value, options);
      const parsed = found.read(row.value, options);
      const further = furtherColumns(row.value, found, options);
      if (further !== undefined) checkJson(further, 'the row');
      layout = found;
      const columns = name === undefined ? further : { ...further, source: name };
      return columns === undefined ? { ...parsed, origin } : { ...parsed, columns, origin };
    },
  };
}

/** A source of parts, one after the other. */
export function createFileSource(parts: readonly SourcePart[]): FileSource {
  const unreadable: { origin: Origin; reason: string }[] = [];
  let adopted: DataSummary['unreadable'] | null = null;

  async function* conversations(): AsyncGenerator<Conversation> {
    adopted = null;
    unreadable.length = 0;
    let rows = 0;
    for (const { files, options, limit, name } of parts) {
      let taken = 0;
      for (const file of files) {
        if (limit !== null && taken >= limit) break;
        const reader = createRowReader(options, name);
        for await (const row of readRows(file, options)) {
          const origin: Origin = { file, line: row.line, index: rows++ };
          let conversation: Conversation;
          try {
            conversation = reader.read(row, origin);
          } catch (error) {
            if (!(error instanceof RowProblem)) throw error;
            unreadable.push({ origin, reason: error.message });
            continue;
          }
          yield conversation;
          if (++taken === limit) break;
        }
      }
    }
  }

  return {
    conversations,
    get unreadable(): DataSummary['unreadable'] {
      return adopted ?? unreadable;
    },
    files: parts.flatMap(({ files }) => files),
    parts,
    adopt(found) {
      adopted = found;
    },
  };
}

/** The files that options name, and how they are read. @throws FILE_NOT_FOUND */
export async function openPart(
  { path, limit = null, ...options }: ConversationSourceOptions,
  baseFolder: string,
  name?: string,
): Promise<SourcePart> {
  const files = await expandFiles(typeof path === 'string' ? [path] : path, baseFolder);
  return { files, options, limit, ...(name === undefined ? {} : { name }) };
}

/**
 * Conversations of files, in the order of the files and their lines. Each iteration reads the files anew, in constant
 * memory. A row that cannot be read is left out and listed in `unreadable` with file, line and reason: whoever iterates
 * decides what that means (see `checkUnreadable`).
 *
 * @throws FILE_NOT_FOUND, FILE_UNREADABLE while iterating
 */
export async function createConversationSource(
  options: ConversationSourceOptions,
  baseFolder: string,
): Promise<FileSource> {
  return createFileSource([await openPart(options, baseFolder)]);
}
