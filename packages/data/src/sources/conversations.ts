import type { Conversation, DataSource, DataSummary, Origin } from '@whetstone/core/contract';
import { detectLayout, furtherColumns, layoutByName, type Layout, type LayoutOptions } from '../layouts/index.js';
import type { LayoutName } from '../choices.js';
import { checkJson } from '../layouts/values.js';
import { describeValue, RowProblem, type Row } from '../reading/row.js';
import { expandFiles } from '../reading/files.js';
import { readRows, type ReadOptions } from '../reading/read-rows.js';
import { isRecord } from '@whetstone/core/util';

/** How rows become conversations; plain data, which can be sent to another thread. */
export interface RowOptions extends LayoutOptions, ReadOptions {
  /** The layout of the rows; `auto` detects it from the first recognizable row of each file. */
  readonly layout?: LayoutName | 'auto';
}

export interface ConversationSourceOptions extends RowOptions {
  /** Files, folders or globs. */
  readonly path: string | readonly string[];
  /** The most conversations to read. */
  readonly limit?: number | null;
}

/** Files that are read with the same options. */
export interface FileSet {
  readonly files: readonly string[];
  readonly options: RowOptions;
  readonly limit: number | null;
  /** The value of the column `source` in each conversation. */
  readonly name?: string;
}

/** A source of files that worker threads can read, too. */
export interface FileSource extends DataSource {
  readonly fileSets: readonly FileSet[];
  /** Sets the unreadable rows of the latest pass, which worker threads have made. */
  adopt(unreadable: DataSummary['unreadable']): void;
}

export function isFileSource(source: DataSource): source is FileSource {
  return 'fileSets' in source && 'adopt' in source;
}

/** Converts the rows of one file to conversations. */
export interface RowReader {
  /** The configured or detected layout; null if no row was recognized yet. */
  readonly layout: string | null;
  /** @throws `RowProblem` if the row is not a conversation */
  read(row: Row, origin: Origin): Conversation;
}

/** @param known the layout that was detected from earlier rows of the file */
export function createRowReader(options: RowOptions, name?: string, known: string | null = null): RowReader {
  const configured = options.layout === undefined || options.layout === 'auto' ? known : options.layout;
  let layout: Layout | undefined = configured === null ? undefined : layoutByName(configured);
  return {
    get layout() {
      return layout?.name ?? null;
    },
    read(row, origin) {
      if ('problem' in row) throw new RowProblem(row.problem);
      if (!isRecord(row.value)) throw new RowProblem(`the row is ${describeValue(row.value)}; expected an object`);
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

/** Creates a source that reads file sets one after the other. */
function createFileSource(fileSets: readonly FileSet[]): FileSource {
  const unreadable: { origin: Origin; reason: string }[] = [];
  let adopted: DataSummary['unreadable'] | null = null;

  async function* conversations(): AsyncGenerator<Conversation> {
    adopted = null;
    unreadable.length = 0;
    let rows = 0;
    for (const { files, options, limit, name } of fileSets) {
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
    files: fileSets.flatMap(({ files }) => files),
    fileSets,
    adopt(found) {
      adopted = found;
    },
  };
}

/**
 * Expands the paths of a source to files.
 *
 * @throws `FILE_NOT_FOUND`
 */
async function openFileSet(
  { path, limit = null, ...options }: ConversationSourceOptions,
  baseFolder: string,
  name?: string,
): Promise<FileSet> {
  const files = await expandFiles(typeof path === 'string' ? [path] : path, baseFolder);
  return { files, options, limit, name };
}

/**
 * Creates a source that reads conversations from files, in the order of the files and their lines. Each iteration reads
 * the files again, in constant memory. An unreadable row is skipped and listed in `unreadable` with file, line and
 * reason; `enforceUnreadableLimit` limits their share.
 *
 * @throws `FILE_NOT_FOUND`
 * @throws `FILE_UNREADABLE` during iteration
 */
export async function createConversationSource(
  options: ConversationSourceOptions,
  baseFolder: string,
): Promise<FileSource> {
  return createFileSource([await openFileSet(options, baseFolder)]);
}

/** One source of a mixture. */
export interface MixedSource extends ConversationSourceOptions {
  readonly name: string;
}

/**
 * Creates a source that reads several sources one after the other, each with its own layout. The column `source` of a
 * conversation holds the name of its source. How often each source is drawn is set by the balance: `"balance": {"by":
 * "source", "weights": {"general": 0.07}}`.
 */
export async function createMixtureSource(sources: readonly MixedSource[], baseFolder: string): Promise<FileSource> {
  return createFileSource(
    await Promise.all(sources.map(({ name, ...options }) => openFileSet(options, baseFolder, name))),
  );
}
