import type { OnBytes } from './bytes.js';
import { linesOf, readLineBlocks, type LineBlock } from './lines.js';
import type { Row } from './row.js';

function parseLine(line: number, text: string): Row {
  try {
    return { line, value: JSON.parse(text) as unknown };
  } catch (error) {
    const reason = text.includes('\0')
      ? 'the line holds NUL characters; the file may be damaged'
      : `not valid JSON: ${(error as Error).message}`;
    return { line, problem: reason };
  }
}

/** Rows of lines that each hold one JSON value. Blank lines are not rows. */
export function* jsonRowsOf(block: LineBlock, maxRowBytes?: number): Generator<Row> {
  for (const line of linesOf(block, maxRowBytes)) {
    if ('problem' in line) yield line;
    else if (line.text.trim() !== '') yield parseLine(line.line, line.text);
  }
}

/** Rows of a JSON Lines file: one JSON value a line. */
export async function* readJsonLines(file: string, maxRowBytes?: number, onBytes?: OnBytes): AsyncGenerator<Row> {
  for await (const block of readLineBlocks(file, maxRowBytes, onBytes)) {
    if ('problem' in block) yield block;
    else yield* jsonRowsOf(block, maxRowBytes);
  }
}
