import { readLines } from './lines.js';
import type { Row } from './row.js';

function parseLine(line: number, text: string): Row {
  try {
    return { line, value: JSON.parse(text) as unknown };
  } catch (error) {
    const reason = text.includes('\0') ? 'the line holds NUL characters; the file may be damaged' : `not valid JSON: ${(error as Error).message}`;
    return { line, problem: reason };
  }
}

/** Rows of a JSON Lines file: one JSON value a line. Blank lines are not rows. */
export async function* readJsonLines(file: string, maxRowBytes?: number): AsyncGenerator<Row> {
  for await (const line of readLines(file, maxRowBytes)) {
    if ('problem' in line) yield line;
    else if (line.text.trim() !== '') yield parseLine(line.line, line.text);
  }
}
