import type { Conversation } from '@whetstone/core/contract';
import { holdsJsonLines } from '../reading/json.js';
import { readLineBlocks } from '../reading/lines.js';
import { formatOf, readRows } from '../reading/read-rows.js';
import type { Row } from '../reading/row.js';
import type { RowOptions, SourcePart } from '../sources/conversations.js';
import type { Block } from './protocol.js';
import { together } from '../reading/together.js';

/** A file that is being read: its layout is found by its first rows, on some thread. */
interface FileState {
  layout: string | null;
}

/** A part that is being read: no more of it is wanted once its limit is reached. */
interface PartState {
  taken: number;
  full: boolean;
}

export interface ReadBlock {
  readonly block: Block;
  /** Null where the main thread made the conversations. */
  readonly file: FileState | null;
  readonly part: { readonly state: PartState; readonly limit: number | null } | null;
}

/** Rows that go to a thread together, where the file must be parsed on the main one. */
const ROWS_TOGETHER = 500;

async function* rowBlocks(rows: AsyncIterable<Row>, part: number, file: string): AsyncGenerator<Block> {
  for await (const some of together(rows, ROWS_TOGETHER)) yield { kind: 'rows', part, file, rows: some };
}

/** A file cut into blocks: by lines where lines are rows, so that threads parse them. */
async function* blocksOfFile(
  file: string,
  part: number,
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
    yield* rowBlocks(readRows(file, options, onBytes), part, file);
    return;
  }
  for await (const block of readLineBlocks(file, options.maxRowBytes, onBytes, blockBytes)) {
    // A copy: what is left of the chunk that was read is still needed here.
    if ('problem' in block) yield { kind: 'rows', part, file, rows: [block] };
    else
      yield {
        kind: 'lines',
        part,
        file,
        format: lines,
        bytes: new Uint8Array(block.bytes),
        firstLine: block.firstLine,
      };
  }
}

/** Everything that is to be read, in its order. */
export async function* blocksOfParts(
  parts: readonly SourcePart[],
  onBytes: (bytes: number) => void,
  blockBytes?: number,
): AsyncGenerator<ReadBlock> {
  for (const [number, { files, options, limit }] of parts.entries()) {
    const part = { state: { taken: 0, full: false }, limit };
    const stated = options.layout === undefined || options.layout === 'auto' ? null : options.layout;
    for (const file of files) {
      if (part.state.full) break;
      const state: FileState = { layout: stated };
      for await (const block of blocksOfFile(file, number, options, onBytes, blockBytes)) {
        yield { block, file: state, part };
        if (part.state.full) break;
      }
    }
  }
}

const CONVERSATIONS_TOGETHER = 500;

/** Conversations that the main thread makes, for others to tokenise. */
export async function* blocksOfConversations(
  conversations: AsyncIterable<Conversation> | Iterable<Conversation>,
): AsyncGenerator<ReadBlock> {
  for await (const some of together(conversations, CONVERSATIONS_TOGETHER))
    yield { block: { kind: 'conversations', conversations: some }, file: null, part: null };
}
