/** Checks the metadata of a Parquet file, and the pages of its columns, before anything is allocated for them. */
import { parquetSchema, type AsyncBuffer, type FileMetaData, type SchemaTree } from 'hyparquet';
import type { Decompress } from './parquet-codecs.js';
import {
  checkLevels,
  checkValues,
  pagesOf,
  readLocations,
  type ColumnLevels,
  type Page,
  type PageLocation,
} from './parquet-pages.js';

/** Maximum depth of nested columns. */
const MAX_DEPTH = 64;
/** Maximum number of columns and structs. */
const MAX_ELEMENTS = 100_000;
/** Approximate bytes of a value, and of one of the lists in which the decoder keeps nested values. */
const VALUE_BYTES = 16;
const LIST_BYTES = 180;

type RowGroup = FileMetaData['row_groups'][number];
type SchemaPath = readonly SchemaTree[];

/** Throws if the elements of the schema are no tree of a reasonable depth. */
function checkSchema({ schema }: FileMetaData): void {
  if (schema.length > MAX_ELEMENTS) throw new Error(`the schema has ${schema.length} elements`);
  const open: number[] = [1];
  for (const { name, num_children: children = 0 } of schema) {
    while (open.at(-1) === 0) open.pop();
    if (open.length === 0) throw new Error('the schema has elements outside of its root');
    if (open.length > MAX_DEPTH) throw new Error(`columns are nested more than ${MAX_DEPTH} deep`);
    if (typeof name !== 'string' || !Number.isInteger(children) || children < 0)
      throw new Error('an element of the schema is invalid');
    open[open.length - 1] = (open.at(-1) ?? 0) - 1;
    open.push(children);
  }
  if (open.some((left) => left > 0)) throw new Error('the schema is incomplete');
}

/** Returns the columns of a schema by their path. */
function leavesOf(tree: SchemaTree): Map<string, SchemaPath> {
  const found = new Map<string, SchemaPath>();
  const visit = (path: SchemaPath): void => {
    const last = path.at(-1) as SchemaTree;
    const key = JSON.stringify(last.path);
    if (last.children.length > 0) for (const child of last.children) visit([...path, child]);
    else if (found.has(key)) throw new Error(`the schema has two columns ${last.path.join('.')}`);
    else found.set(key, path);
  };
  visit([tree]);
  return found;
}

const isSize = (value: unknown, most: number): boolean =>
  (typeof value === 'bigint' || typeof value === 'number') && value >= 0 && value <= most;

/** Throws if the columns of a group are not those of the schema, or lie outside of the file. */
function checkGroup(group: RowGroup, leaves: ReadonlyMap<string, SchemaPath>, fileBytes: number): void {
  if (!isSize(group.num_rows, Number.MAX_SAFE_INTEGER) || !isSize(group.total_byte_size, Number.MAX_SAFE_INTEGER))
    throw new Error('the size of a row group is invalid');
  const seen = new Set<string>();
  for (const { meta_data: column, file_path: other, ...index } of group.columns) {
    if (column === undefined) throw new Error('the metadata of a column is missing');
    const indexStart = Number(index.offset_index_offset ?? 0);
    if (!isSize(indexStart, fileBytes) || !isSize(index.offset_index_length ?? 0, fileBytes - indexStart))
      throw new Error('the page index of a column is outside of the file');
    if (other) throw new Error('a column is in another file');
    const key = JSON.stringify(column.path_in_schema);
    const path = leaves.get(key);
    if (path === undefined || seen.has(key)) throw new Error(`the column ${key} is not in the schema, or there twice`);
    seen.add(key);
    const start = Number(column.dictionary_page_offset || column.data_page_offset);
    const size = Number(column.total_compressed_size);
    if (!isSize(start, fileBytes) || !isSize(size, fileBytes - start))
      throw new Error(`the column ${key} is outside of the file`);
    if (!isSize(column.num_values, Number.MAX_SAFE_INTEGER))
      throw new Error(`the number of values of the column ${key} is invalid`);
    if (isFlat(path) && Number(column.num_values) < Number(group.num_rows))
      throw new Error(`the column ${key} has fewer values than the group has rows`);
  }
}

const isFlat = (path: SchemaPath): boolean => path.length === 2 && path[1]?.element.repetition_type !== 'REPEATED';

/**
 * Throws if the metadata of a file is not consistent: offsets outside of the file, invalid counts, columns that are not
 * in the schema, or a schema that is nested too deeply.
 */
export function checkMetadata(metadata: FileMetaData, fileBytes: number): void {
  checkSchema(metadata);
  const leaves = leavesOf(parquetSchema(metadata));
  for (const group of metadata.row_groups) checkGroup(group, leaves, fileBytes);
}

const levelsOf = (path: SchemaPath, isCounted: (repetition: string | undefined) => boolean): number =>
  path.slice(1).filter(({ element }) => isCounted(element.repetition_type)).length;

/**
 * Estimates the memory of the decoded values of a group in bytes. The decoder keeps a list for each level that is
 * optional or repeated: once for a row above the first repeated level, once for a value below it.
 */
export function decodedBytesOf(metadata: FileMetaData, group: RowGroup): number {
  const leaves = leavesOf(parquetSchema(metadata));
  const rows = Number(group.num_rows);
  let bytes = 0;
  for (const { meta_data: column } of group.columns) {
    const values = Number(column?.num_values ?? 0);
    const path = leaves.get(JSON.stringify(column?.path_in_schema)) ?? [];
    bytes += values * VALUE_BYTES;
    let repeated = 0;
    for (const [depth, { element }] of path.entries()) {
      const isList = depth > 0 && element.repetition_type !== 'REQUIRED';
      const isLeaf = depth === path.length - 1;
      if (isList && (!isLeaf || element.repetition_type === 'REPEATED'))
        bytes += LIST_BYTES * (repeated === 0 ? rows : Math.max(rows, values));
      if (element.repetition_type === 'REPEATED') repeated++;
    }
  }
  return bytes;
}

export interface CheckedFile {
  readonly file: AsyncBuffer;
  readonly metadata: FileMetaData;
  readonly compressors: Readonly<Record<string, Decompress>>;
}

interface Column {
  readonly values: number;
  readonly rows: number;
  readonly levels: ColumnLevels;
  readonly start: number;
  readonly end: number;
  /** The start of its page index in the file. */
  readonly indexStart: number | null;
  /** Its pages by their offsets in the file, once the page index was read. */
  readonly pages: Map<number, { readonly rows: number }>;
}

/**
 * Returns a file, its metadata and decompressors that check each page before it is decoded. Each column gets its own
 * codec, because a decompressor is not told to which column its page belongs.
 */
export function checkedFile(
  file: AsyncBuffer,
  metadata: FileMetaData,
  codecs: ReadonlyMap<string, Decompress>,
  limits: { readonly maxPageBytes: number; readonly maxValues: number },
): CheckedFile {
  const leaves = leavesOf(parquetSchema(metadata));
  const columns: Column[] = [];
  const compressors: Record<string, Decompress> = {};
  const row_groups = metadata.row_groups.map((group) => ({
    ...group,
    columns: group.columns.map((chunk) => {
      const { meta_data: column } = chunk;
      if (column === undefined) return chunk;
      const path = leaves.get(JSON.stringify(column.path_in_schema)) ?? [];
      const levels = {
        repetition: levelsOf(path, (repetition) => repetition === 'REPEATED'),
        definition: levelsOf(path, (repetition) => repetition !== 'REQUIRED'),
        isBoolean: column.type === 'BOOLEAN',
        ...limits,
      };
      const start = Number(column.dictionary_page_offset || column.data_page_offset);
      columns.push({
        levels,
        values: Number(column.num_values),
        rows: Number(group.num_rows),
        indexStart: chunk.offset_index_offset ? Number(chunk.offset_index_offset) : null,
        pages: new Map(),
        start,
        end: start + Number(column.total_compressed_size),
      });
      const codec = `${column.codec}:${columns.length}`;
      compressors[codec] = checkedCodec(codecs.get(column.codec), column.codec, levels);
      return { ...chunk, meta_data: { ...column, codec: codec as typeof column.codec } };
    }),
  }));
  return { file: checkedBuffer(file, columns), metadata: { ...metadata, row_groups }, compressors };
}

/** Returns a file that checks the page indexes, and the headers and levels of the pages, that are read from it. */
function checkedBuffer(file: AsyncBuffer, columns: readonly Column[]): AsyncBuffer {
  const sorted = columns.toSorted((a, b) => a.start - b.start);
  const byIndex = new Map(
    columns.flatMap((column) => (column.indexStart === null ? [] : [[column.indexStart, column]])),
  );
  return {
    byteLength: file.byteLength,
    async slice(start, end = file.byteLength) {
      if (!(start >= 0 && start <= end && end <= file.byteLength)) throw new Error('a page is outside of the file');
      const buffer = await file.slice(start, end);
      const bytes = new Uint8Array(buffer);
      const indexed = byIndex.get(start);
      if (indexed !== undefined) {
        checkIndex(readLocations(bytes), indexed);
        return buffer;
      }
      const first = firstFrom(sorted, start);
      for (let at = first; at < sorted.length; at++) {
        const column = sorted[at] as Column;
        if (column.start >= end) break;
        if (column.end <= end && column.end > column.start)
          checkColumn(bytes.subarray(column.start - start, column.end - start), column);
      }
      // Some pages of a column, which are chosen by its page index.
      const around = sorted.slice(Math.max(0, first - 1), first + 1).find((column) => isPart(start, end, column));
      if (around !== undefined) checkPages(bytes, start, around);
      return buffer;
    },
  };
}

const isPart = (start: number, end: number, column: Column): boolean =>
  column.start <= start && end <= column.end && end - start < column.end - column.start;

/** Returns the index of the first column that starts at or after `start`. */
function firstFrom(sorted: readonly Column[], start: number): number {
  let [low, high] = [0, sorted.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((sorted[middle]?.start ?? 0) < start) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Throws unless the pages of an index lie in their column and have the rows of the group, in their order. */
function checkIndex(locations: readonly PageLocation[], column: Column): void {
  let [end, row] = [column.start, 0];
  for (const [number, { offset, bytes, firstRow }] of locations.entries()) {
    const next = locations[number + 1]?.firstRow ?? column.rows;
    if (offset < end || !isSize(bytes, column.end - offset))
      throw new Error('a page of a page index is outside of its column');
    if (firstRow !== row || !isSize(next - firstRow, column.rows))
      throw new Error('the rows of a page index are invalid');
    column.pages.set(offset, { rows: next - firstRow });
    [end, row] = [offset + bytes, next];
  }
  if (row !== column.rows) throw new Error('a page index has no pages');
}

/** Checks what of consecutive pages is not decompressed. Returns the number of their values. */
function checkPages(bytes: Uint8Array, start: number, column: Column): number {
  let found = 0;
  for (const page of pagesOf(bytes, column.levels)) {
    checkLevels(bytes, page, column.levels);
    if (!page.isCompressed) checkValues(bytes.subarray(page.body, page.end), page, column.levels);
    if (page.isDictionary) continue;
    found += page.values;
    const indexed = column.pages.get(start + page.header);
    if (column.pages.size > 0 && (indexed === undefined || (isSimple(column) && page.values !== indexed.rows)))
      throw new Error('a page is not as the page index says');
  }
  return found;
}

/** Returns whether a column has one value for each row. */
const isSimple = ({ levels }: Column): boolean => levels.repetition === 0;

/** Checks a complete column. @throws if its pages have not all of its values */
function checkColumn(bytes: Uint8Array, column: Column): void {
  const found = checkPages(bytes, column.start, column);
  if (found < column.values) throw new Error(`the pages of a column have ${found} of ${column.values} values`);
}

function checkedCodec(decompress: Decompress | undefined, codec: string, column: ColumnLevels): Decompress {
  const known = new WeakMap<ArrayBufferLike, ReadonlyMap<number, Page>>();
  return (input, length) => {
    if (decompress === undefined) throw new Error(`the compression codec ${codec} is not supported`);
    let pages = known.get(input.buffer);
    if (pages === undefined) {
      pages = new Map(pagesOf(new Uint8Array(input.buffer), column).map((page) => [page.body, page]));
      known.set(input.buffer, pages);
    }
    const page = pages.get(input.byteOffset);
    if (page === undefined || !(length >= 0) || length > column.maxPageBytes)
      throw new Error('a page has an invalid size');
    const output = decompress(input, length);
    checkValues(output, page, column);
    return output;
  };
}
