import type { Conversation } from '@whetstone/core/contract';
import { holdsJsonLines } from '../reading/json.js';
import { readLineBlocks } from '../reading/lines.js';
import { formatOf, readRows } from '../reading/read-rows.js';
import type { Row } from '../reading/row.js';
import type { FileSet, RowOptions } from '../sources/conversations.js';
import type { Block } from './protocol.js';
import { chunk } from '../reading/chunk.js';

interface FileState {
  /** The file's layout; null until a thread has detected it from the first rows. */
  layout: string | null;
}

interface FileSetState {
  /** Conversations taken so far. */
  taken: number;
  /** True once the limit of the file set is reached: the rest of it is not read. */
  full: boolean;
}

export interface ReadBlock {
  readonly block: Block;
  /** Null if the main thread made the conversations. */
  readonly file: FileState | null;
  readonly fileSet: { readonly state: FileSetState; readonly limit: number | null } | null;
}

/** Rows in a block, if the file is parsed on the main thread. */
const ROWS_TOGETHER = 500;

async function* rowBlocks(rows: AsyncIterable<Row>, fileSet: number, file: string): AsyncGenerator<Block> {
  for await (const some of chunk(rows, ROWS_TOGETHER)) yield { kind: 'rows', fileSet, file, rows: some };
}

/** Cuts a file into blocks: of unparsed lines if each line is a row, otherwise of rows parsed on this thread. */
async function* blocksOfFile(
  file: string,
  fileSet: number,
  options: RowOptions,
  onBytes: (bytes: number) => void,
  blockBytes: number | undefined,
): AsyncGenerator<Block> {
  const format = options.format === undefined || options.format === 'auto' ? formatOf(file) : options.format;
  const lines =
    format === 'jsonl' || (format === 'json' && (await holdsJsonLines(file)))
      ? 'jsonl'
      : format === 'text' && (options.textUnit ?? 'line') === 'line'
        ? 'text'
        : null;
  if (lines === null) {
    yield* rowBlocks(readRows(file, options, onBytes), fileSet, file);
    return;
  }
  for await (const block of readLineBlocks(file, options.maxRowBytes, onBytes, blockBytes)) {
    // A copy, because the bytes are transferred and the reader still needs the rest of its buffer.
    if ('problem' in block) yield { kind: 'rows', fileSet, file, rows: [block] };
    else
      yield {
        kind: 'lines',
        fileSet,
        file,
        format: lines,
        bytes: new Uint8Array(block.bytes),
        firstLine: block.firstLine,
      };
  }
}

/** Cuts all files into blocks, in the order of the data. */
export async function* blocksOfFileSets(
  fileSets: readonly FileSet[],
  onBytes: (bytes: number) => void,
  blockBytes?: number,
): AsyncGenerator<ReadBlock> {
  for (const [number, { files, options, limit }] of fileSets.entries()) {
    const fileSet = { state: { taken: 0, full: false }, limit };
    const configured = options.layout === undefined || options.layout === 'auto' ? null : options.layout;
    for (const file of files) {
      if (fileSet.state.full) break;
      const state: FileState = { layout: configured };
      for await (const block of blocksOfFile(file, number, options, onBytes, blockBytes)) {
        yield { block, file: state, fileSet };
        if (fileSet.state.full) break;
      }
    }
  }
}

const CONVERSATIONS_TOGETHER = 500;

/** Groups conversations that the main thread reads into blocks, so that worker threads tokenize them. */
export async function* blocksOfConversations(
  conversations: AsyncIterable<Conversation> | Iterable<Conversation>,
): AsyncGenerator<ReadBlock> {
  for await (const some of chunk(conversations, CONVERSATIONS_TOGETHER))
    yield { block: { kind: 'conversations', conversations: some }, file: null, fileSet: null };
}
