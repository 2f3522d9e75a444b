import { parseExact } from '@whetstone/core/util';
import type { OnBytes } from './bytes.js';
import { linesOf, readLineBlocks, type LineBlock } from './lines.js';
import type { Row } from './row.js';

function parseLine(line: number, text: string): Row {
  try {
    return { line, value: parseExact(text) };
  } catch (error) {
    const reason = text.includes('\0')
      ? 'the line contains NUL characters; the file may be damaged'
      : `not valid JSON: ${(error as Error).message}`;
    return { line, problem: reason };
  }
}

/** Yields the rows of a block with one JSON value per line. Blank lines are skipped. */
export function* jsonRowsOf(block: LineBlock, maxRowBytes?: number): Generator<Row> {
  for (const line of linesOf(block, maxRowBytes)) {
    if ('problem' in line) yield line;
    else if (line.text.trim() !== '') yield parseLine(line.line, line.text);
  }
}

/** Yields the rows of a JSON Lines file, which has one JSON value per line. */
export async function* readJsonLines(file: string, maxRowBytes?: number, onBytes?: OnBytes): AsyncGenerator<Row> {
  for await (const block of readLineBlocks(file, maxRowBytes, onBytes)) {
    if ('problem' in block) yield block;
    else yield* jsonRowsOf(block, maxRowBytes);
  }
}
