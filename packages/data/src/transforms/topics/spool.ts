import { closeSync, createReadStream } from 'node:fs';
import { tmpdir } from 'node:os';
import { createInterface } from 'node:readline';
import { writeFullySync } from '@whetstone/core/files';
import { parseExact, stringifyExact } from '@whetstone/core/util';
import { openOverflow } from '../../batching/token-store.js';

/** A list of plain data that is written once and read again in order: in memory, and beyond a limit in a file. */
export interface Spool<T> {
  add(value: T): void;
  read(): AsyncGenerator<T>;
  close(): void;
}

const MEMORY_CHARACTERS = 16 * 1024 * 1024;

export function createSpool<T>(memoryCharacters = MEMORY_CHARACTERS): Spool<T> {
  let lines: string[] = [];
  let characters = 0;
  let file: number | null = null;
  let written = 0;
  const flush = (): void => {
    file ??= openOverflow();
    const bytes = Buffer.from(lines.map((line) => `${line}\n`).join(''));
    writeFullySync(file, bytes, written, tmpdir());
    written += bytes.length;
    lines = [];
    characters = 0;
  };
  return {
    add(value) {
      const line = stringifyExact(value);
      lines.push(line);
      characters += line.length;
      if (characters > memoryCharacters) flush();
    },
    async *read() {
      if (file !== null) {
        const stream = createReadStream('', { fd: file, start: 0, end: written - 1, autoClose: false });
        for await (const line of createInterface({ input: stream, crlfDelay: Infinity })) yield parseExact(line) as T;
      }
      for (const line of lines) yield parseExact(line) as T;
    },
    close() {
      if (file !== null) closeSync(file);
      file = null;
      lines = [];
    },
  };
}
