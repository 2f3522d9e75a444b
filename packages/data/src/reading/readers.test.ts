import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { createConversationSource, type ConversationSourceOptions } from '../sources/conversations.js';
import { collect, temporaryFolder, writeInto } from '../testing/files.js';
import { readParquet } from './parquet.js';
import { readRows, type ReadOptions } from './read-rows.js';
import type { Row } from './row.js';

const folder = temporaryFolder();
const fixture = (name: string): string => fileURLToPath(new URL(`../../test-data/${name}`, import.meta.url));

/** Rows as `line: value` or `line! problem`. */
const show = (rows: readonly Row[]): string[] =>
  rows.map((row) => ('problem' in row ? `${row.line}! ${row.problem}` : `${row.line}: ${JSON.stringify(row.value)}`));

async function rowsOf(name: string, content: string | Uint8Array, options?: ReadOptions): Promise<string[]> {
  return show(await collect(readRows(writeInto(folder, name, content), options)));
}

async function turnsOf(path: string, options: Partial<ConversationSourceOptions> = {}) {
  const source = await createConversationSource({ path, ...options }, folder);
  const turns = (await collect(source.conversations())).map(({ messages }) =>
    messages.map(({ role, content }) => `${role}:${content as string}`),
  );
  return { turns, problems: source.unreadable.map(({ origin, reason }) => `${origin.line}! ${reason}`) };
}

describe('JSON', () => {
  test('a list, with the line of each element', async () => {
    expect(await rowsOf('a.json', '\ufeff[\n {"text": "a, ]"},\n\n {"text":\n "b\\"}"}\n]\n')).toEqual([
      '2: {"text":"a, ]"}',
      '4: {"text":"b\\"}"}',
    ]);
    expect(await rowsOf('empty.json', '[ ]')).toEqual([]);
    expect(await rowsOf('nothing.json', '')).toEqual([]);
  });

  test('an invalid element does not affect the others', async () => {
    const rows = await rowsOf('broken.json', '[{"a": 1},\n{"a": nope},\n{"a": 3}\n]');
    expect(rows[0]).toBe('1: {"a":1}');
    expect(rows[1]).toMatch(/^2! not valid JSON/);
    expect(rows[2]).toBe('3: {"a":3}');
  });

  test('an incomplete list, and a list followed by text', async () => {
    expect((await rowsOf('cut.json', '[{"a": 1},\n{"a": 2')).at(-1)).toBe(
      '2! the list is not closed: the file may be incomplete',
    );
    expect((await rowsOf('more.json', '[1]\n[2]')).at(-1)).toBe('2! the file has text after the end of the list');
    expect(await rowsOf('commas.json', '[1,,2]')).toEqual([
      '1: 1',
      '1! an element is missing between two commas',
      '1: 2',
    ]);
  });

  test('elements across several chunks, and an element above the limit', async () => {
    const long = 'x'.repeat(2_500_000);
    const rows = await rowsOf('long.json', JSON.stringify([{ text: long }, { text: 'b' }]));
    expect(rows.map((row) => row.length)).toEqual([long.length + 14, 15]);
    expect(
      (await rowsOf('limited.json', JSON.stringify([{ text: long }, { text: 'b' }]), { maxRowBytes: 100_000 }))[0],
    ).toMatch(/^1! the element has \d+ bytes/);
  });

  test('an object with rows, one conversation, and JSON Lines with the extension .json', async () => {
    expect(await rowsOf('data.json', '{\n"version": 1,\n"data": [{"text": "a"}, {"text": "b"}]}')).toEqual([
      '1: {"text":"a"}',
      '1: {"text":"b"}',
    ]);
    expect(await rowsOf('one.json', '{\n"text": "a"}')).toEqual(['1: {"text":"a"}']);
    expect(await rowsOf('lines.json', '{"text": "a"}\n{"text": "b"}\n')).toEqual([
      '1: {"text":"a"}',
      '2: {"text":"b"}',
    ]);
  });
});

describe('CSV', () => {
  test('with a header, quotes, line breaks in fields, a byte-order mark and CRLF', async () => {
    const content = '\ufeffprompt,completion,topic\r\n"2+2, ""please""",4,maths\r\n"two\nlines",x,\r\n"a",b,c\r\n';
    expect(await rowsOf('a.csv', content)).toEqual([
      '2: {"prompt":"2+2, \\"please\\"","completion":"4","topic":"maths"}',
      '3: {"prompt":"two\\nlines","completion":"x","topic":""}',
      '5: {"prompt":"a","completion":"b","topic":"c"}',
    ]);
  });

  test('semicolons and tabs', async () => {
    expect(await rowsOf('b.csv', 'prompt;completion\na,b;c\n')).toEqual(['2: {"prompt":"a,b","completion":"c"}']);
    expect(await rowsOf('c.tsv', 'prompt\tcompletion\na\tb\n')).toEqual(['2: {"prompt":"a","completion":"b"}']);
  });

  test('a first line that names the delimiter, as spreadsheets write it, is not the header', async () => {
    expect(await rowsOf('s.csv', 'sep=;\r\nprompt;completion\r\na, b;"c ""d"""\r\n')).toEqual([
      '3: {"prompt":"a, b","completion":"c \\"d\\""}',
    ]);
  });

  test('a name that the header contains twice is a problem of every row; columns without a name are not', async () => {
    expect(await rowsOf('t.csv', 'prompt,prompt,completion\na,b,c\n')).toEqual([
      '2! the header contains the column "prompt" twice',
    ]);
    expect(await rowsOf('u.csv', 'prompt,completion,,\na,b,,\n')).toEqual(['2: {"prompt":"a","completion":"b","":""}']);
  });

  test('rows with too many fields or stray quotes are reported, the others read', async () => {
    const rows = await rowsOf('d.csv', 'prompt,completion\na,b\na,b,c\na,"b"c\nlast,row\n');
    expect(rows.filter((row) => row.includes('! '))).toHaveLength(2);
    expect(rows.find((row) => row.includes('has 3 fields; expected 2'))).toMatch(/^3!/);
    expect(rows.find((row) => row.includes('quote'))).toMatch(/^4!/);
    expect(rows.at(-1)).toContain('"last"');
  });

  test('a quote that is never closed affects only its own row', async () => {
    const rows = await rowsOf('e.csv', `prompt,completion\na,b\n"never,closed\n${'x,y\n'.repeat(1000)}`);
    expect(rows[0]).toContain('"a"');
    expect(rows[1]).toBe('3! a quoted field is never closed');
    expect(rows.slice(2)).toEqual(
      Array.from({ length: 1000 }, (_, index) => `${index + 4}: {"prompt":"x","completion":"y"}`),
    );
  });

  test('messages as JSON in a field', async () => {
    const file = writeInto(
      folder,
      'f.csv',
      'messages,topic\n"[{""role"":""user"",""content"":""Hi""},{""role"":""assistant"",""content"":""Hello""}]",x\n',
    );
    expect((await turnsOf(file)).turns).toEqual([['user:Hi', 'assistant:Hello']]);
  });

  test('bytes that are not UTF-8', async () => {
    const rows = await rowsOf('g.csv', Buffer.from('prompt,completion\ngr\xfc\xdfe,b\nc,d\n', 'latin1'));
    expect(rows[0]).toMatch(/^2! the row is not valid UTF-8/);
    expect(rows[1]).toContain('"c"');
  });
});

describe('Parquet', () => {
  // Written by pyarrow 26.
  test.each(['messages.zstd.parquet', 'messages.snappy.parquet'])('lists of structs: %s', async (name) => {
    expect((await turnsOf(fixture(name))).turns).toEqual([
      ['user:Hi', 'assistant:Grüße, 世界'],
      ['user:2+2', 'assistant:4'],
    ]);
    const [conversation] = await collect(
      (await createConversationSource({ path: fixture(name) }, folder)).conversations(),
    );
    expect(conversation?.columns).toEqual({ score: 1, topic: 'a' });
    expect(conversation?.messages[0]).toEqual({ role: 'user', content: 'Hi' });
    expect(conversation?.messages[1]).toMatchObject({ name: 'Ada' });
  });

  test('many rows', async () => {
    const rows = await collect(readRows(fixture('many.gzip.parquet')));
    expect(rows).toHaveLength(2500);
    expect(rows.at(-1)).toEqual({ line: 2500, value: { text: 'text 2499' } });
  });

  // 600 rows in one group of many pages: lists of structs with a page index, and flat columns without one.
  test.each(['pages.snappy.parquet', 'flat.snappy.parquet'])('a large group is decoded in steps: %s', async (name) => {
    const rows = await collect(readParquet(fixture(name)));
    expect(rows.map(({ line }) => line)).toEqual(Array.from({ length: 600 }, (_, index) => index + 1));
    expect(JSON.stringify(rows[599])).toMatch(/q(uestion )?599.*a(nswer )?599/);
    for (const bytes of [1000, 7777])
      expect(await collect(readParquet(fixture(name), undefined, { decodedBytes: bytes }))).toEqual(rows);
  });

  // By pyarrow 26: LZ4_RAW, pages of version 2, lists of structs beside flat columns, one with a dictionary.
  test('pages that are compressed with LZ4, complete and by their page index', async () => {
    const expected = Array.from({ length: 120 }, (_, row) => ({
      messages: [
        { role: 'user', content: `q${row} ${'ab'.repeat(row % 9)}` },
        { role: 'assistant', content: `a${row}` },
      ],
      n: row,
      text: `t${row % 7}`,
    }));
    for (const decodedBytes of [undefined, 500, 1500]) {
      const limits = decodedBytes === undefined ? {} : { decodedBytes };
      const rows = await collect(readParquet(fixture('indexed.lz4.parquet'), undefined, limits));
      expect(rows).toEqual(expected.map((value, index) => ({ line: index + 1, value })));
    }
  });

  test('a large group that cannot be decoded in steps is an error with its size; nothing is decoded', async () => {
    const nested = fixture('messages.snappy.parquet');
    const rows = await collect(readParquet(nested));
    expect(await collect(readParquet(nested, undefined, { decodedBytes: 1 }))).toEqual(rows);
    let bytes = 0;
    const error: unknown = await collect(
      readParquet(nested, (read) => (bytes += read), { decodedBytes: 1, maxGroupBytes: 100 }),
    ).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({
      code: 'FILE_UNREADABLE',
      place: { file: nested },
      expected: expect.stringContaining('maxGroupBytes') as string,
      hint: expect.stringContaining('write_page_index') as string,
    });
    expect(String(error)).toMatch(/Row group 0 .* has 0\.0 MiB of nested columns/);
    expect(bytes).toBe(0);
    // With a page index or flat columns the limit does not apply.
    for (const name of ['pages.snappy.parquet', 'flat.snappy.parquet'])
      expect(
        await collect(readParquet(fixture(name), undefined, { decodedBytes: 1000, maxGroupBytes: 100 })),
      ).toHaveLength(600);
  });

  test('wrong types are reported row by row', async () => {
    expect((await turnsOf(fixture('wrong-types.parquet'))).problems).toEqual([
      '1! messages is number 1; expected a list of messages',
      '2! messages is number 2; expected a list of messages',
    ]);
  });

  test('an incomplete file, or a file that is not Parquet, is an error', async () => {
    const complete = readFileSync(fixture('many.gzip.parquet'));
    await expect(rowsOf('cut.parquet', complete.subarray(0, 500))).rejects.toMatchObject({ code: 'FILE_UNREADABLE' });
    await expect(rowsOf('none.parquet', 'PAR1 not at all')).rejects.toMatchObject({ code: 'FILE_UNREADABLE' });
    await expect(rowsOf('zero.parquet', '')).rejects.toMatchObject({ code: 'FILE_UNREADABLE' });
  });
});

describe('plain text', () => {
  const content = 'One\nTwo\n\n\nThree\n';
  test('by line, paragraph or document', async () => {
    expect(await rowsOf('a.txt', content)).toEqual(['1: {"text":"One"}', '2: {"text":"Two"}', '5: {"text":"Three"}']);
    expect(await rowsOf('a.txt', content, { textUnit: 'paragraph' })).toEqual([
      '1: {"text":"One\\nTwo"}',
      '5: {"text":"Three"}',
    ]);
    expect(await rowsOf('a.txt', content, { textUnit: 'document' })).toEqual(['1: {"text":"One\\nTwo\\n\\n\\nThree"}']);
  });
});

test('gzip, for several formats', async () => {
  expect(await rowsOf('a.csv.gz', gzipSync('prompt,completion\na,b\n'))).toEqual([
    '2: {"prompt":"a","completion":"b"}',
  ]);
  expect(await rowsOf('a.json.gz', gzipSync('[{"text": "a"}]'))).toEqual(['1: {"text":"a"}']);
});
