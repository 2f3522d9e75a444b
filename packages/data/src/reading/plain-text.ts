import type { OnBytes } from './bytes.js';
import { linesOf, readLines, type LineBlock } from './lines.js';
import type { Row } from './row.js';
import type { TextUnit } from '../choices.js';

/** Yields one row per line of a block. Blank lines are skipped. */
export function* textRowsOf(block: LineBlock, maxRowBytes?: number): Generator<Row> {
  for (const line of linesOf(block, maxRowBytes)) {
    if ('problem' in line) yield line;
    else if (line.text.trim() !== '') yield { line: line.line, value: { text: line.text } };
  }
}

/** Yields the rows `{"text"}` of a plain text file. Blank lines are not samples. */
export async function* readPlainText(
  file: string,
  unit: TextUnit = 'line',
  maxRowBytes?: number,
  onBytes?: OnBytes,
): AsyncGenerator<Row> {
  let waiting: string[] = [];
  let first = 1;
  for await (const line of readLines(file, maxRowBytes, onBytes)) {
    if ('problem' in line) {
      yield line;
      continue;
    }
    const blank = line.text.trim() === '';
    if (unit === 'line') {
      if (!blank) yield { line: line.line, value: { text: line.text } };
    } else if (blank && unit === 'paragraph') {
      if (waiting.length > 0) yield { line: first, value: { text: waiting.join('\n') } };
      waiting = [];
    } else if (!blank || waiting.length > 0) {
      if (waiting.length === 0) first = line.line;
      waiting.push(line.text);
    }
  }
  const text = waiting.join('\n').trimEnd();
  if (text !== '') yield { line: first, value: { text } };
}
