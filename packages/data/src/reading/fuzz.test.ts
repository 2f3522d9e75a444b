import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { isWhetstoneError } from '@whetstone/core/contract';
import { plainNumbers } from '@whetstone/core/util';
import { createConversationSource } from '../sources/conversations.js';
import { asLines, collect, temporaryFolder, writeInto } from '../testing/files.js';
import { FORMATS } from '../choices.js';
import { readRows } from './read-rows.js';

const folder = temporaryFolder();

/** Reads a file and checks what holds for all input: each row has a line, a value or a reason; errors have a code. */
async function readToTheEnd(file: string, format: (typeof FORMATS)[number]): Promise<void> {
  try {
    const source = await createConversationSource({ path: file, format }, folder);
    const conversations = await collect(source.conversations());
    for (const { messages, origin } of conversations) {
      expect(messages.length).toBeGreaterThan(0);
      expect(origin.line).toBeGreaterThan(0);
      for (const { role, content } of messages) {
        expect(role).not.toBe('');
        expect(typeof content === 'string' ? content : '').not.toMatch(/[\p{Surrogate}\0]/u);
      }
    }
    expect(source.unreadable.every(({ origin, reason }) => (origin.line ?? 0) > 0 && reason !== '')).toBe(true);
  } catch (error) {
    if (!isWhetstoneError(error)) throw error;
  }
}

const awkwardText = fc.string({
  unit: fc.constantFrom(
    'a',
    '"',
    '\\',
    '\n',
    '\r',
    ',',
    '[',
    ']',
    '{',
    '}',
    ':',
    '\0',
    '\ufeff',
    '世',
    '😀',
    '\ud83d',
    ' ',
    '1',
  ),
});
const anyBytes = fc.oneof(
  fc.uint8Array({ maxLength: 400 }),
  awkwardText.map((text) => Buffer.from(text)),
  fc.array(fc.json({ maxDepth: 3 }), { maxLength: 5 }).map((rows) => Buffer.from(rows.join('\n'))),
  fc.array(fc.json({ maxDepth: 3 }), { maxLength: 5 }).map((rows) => Buffer.from(`[${rows.join(',')}]`)),
  // Valid headers of the binary formats, followed by random bytes.
  fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.concat([Buffer.from([0x1f, 0x8b, 8, 0]), bytes])),
  fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.concat([Buffer.from('PAR1'), bytes, Buffer.from('PAR1')])),
);

test.each(FORMATS)('any bytes as %s: no crash, no hang, no error without a code', async (format) => {
  let runs = 0;
  await fc.assert(
    fc.asyncProperty(anyBytes, async (bytes) => {
      await readToTheEnd(writeInto(folder, `${format}-${runs++ % 2}`, bytes), format);
    }),
    { numRuns: 150 },
  );
});

test('rows of JSON Lines and JSON lists are read as they were written', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.jsonValue({ maxDepth: 3 }), { maxLength: 8 }), async (values) => {
      const rows = values.map((value) => JSON.parse(JSON.stringify({ value })) as unknown);
      const lines = await collect(readRows(writeInto(folder, 'round.jsonl', asLines(rows))));
      const list = await collect(readRows(writeInto(folder, 'round.json', JSON.stringify(rows, null, 1))));
      expect(lines.map((row) => ('value' in row ? plainNumbers(row.value) : row.problem))).toEqual(rows);
      expect(list.map((row) => ('value' in row ? plainNumbers(row.value) : row.problem))).toEqual(rows);
    }),
    { numRuns: 100 },
  );
});

test('rows of tables are read as they were written, for any field content', async () => {
  const field = fc.string({ unit: fc.constantFrom('a', '"', ',', '\n', ';', ' ', '世', '😀', '\t') });
  const quote = (text: string): string => `"${text.replaceAll('"', '""')}"`;
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(field, field), { maxLength: 6 }),
      fc.constantFrom(',', ';', '\t', '|'),
      fc.constantFrom('\n', '\r\n'),
      async (records, delimiter, end) => {
        const text = [['p', 'c'], ...records].map((fields) => fields.map(quote).join(delimiter)).join(end);
        const rows = await collect(readRows(writeInto(folder, 'round.csv', text)));
        expect(rows.map((row) => ('value' in row ? row.value : row.problem))).toEqual(
          records.map(([p, c]) => ({ p, c })),
        );
      },
    ),
    { numRuns: 100 },
  );
});
