import { createWriteStream, truncateSync, writeFileSync } from 'node:fs';
import { once } from 'node:events';
import path from 'node:path';
import { gzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { createBatchSource } from '../batching/batch-source.js';
import { passOnThreads } from '../parallel/pass.js';
import { startInline } from '../testing/inline-thread.js';
import { createConversationSource, type ConversationSourceOptions } from '../sources/conversations.js';
import { enforceUnreadableLimit } from '../sources/unreadable.js';
import { characterTokenizer, plainRenderer } from '../testing/fakes.js';
import { asLines, collect, temporaryFolder, writeInto } from '../testing/files.js';
import { chat } from '../testing/sources.js';

const folder = temporaryFolder();

/** Returns the lines of the readable rows of a file, and the unreadable rows with their reasons. */
async function readAll(file: string, options: Partial<ConversationSourceOptions> = {}) {
  const source = await createConversationSource({ path: file, ...options }, folder);
  const lines = (await collect(source.conversations())).map(({ origin }) => origin.line);
  return {
    lines,
    problems: source.unreadable.map(
      ({ origin, reason }) => `${path.basename(origin.file ?? '')}:${origin.line} ${reason}`,
    ),
  };
}

const good = `${JSON.stringify({ messages: chat('Hi', 'Grüße 😀').messages })}\n`;

describe('an unreadable row is reported with file, line and reason, and does not affect other rows', () => {
  test('mixed encodings, a byte-order mark in the middle, CRLF, NUL, half a surrogate pair', async () => {
    const file = writeInto(
      folder,
      'mixed.jsonl',
      Buffer.concat([
        Buffer.from(`\ufeff${good}`),
        Buffer.from('{"messages": "caf\xe9"}\n', 'latin1'),
        Buffer.from(good.replace('\n', '\r\n')),
        Buffer.from(good.replace('Hi', 'H\0i')),
        Buffer.from(good.replace('Hi', '\\ud83d')),
        Buffer.from(`\ufeff${good}`),
        Buffer.from(good.replace('Hi', 'a\\u0000b')),
        Buffer.from(good),
      ]),
    );
    expect(await readAll(file)).toEqual({
      lines: [1, 3, 6, 8],
      problems: [
        'mixed.jsonl:2 the line is not valid UTF-8',
        expect.stringMatching(/^mixed.jsonl:4 .*NUL/),
        expect.stringMatching(/^mixed.jsonl:5 .*half of a surrogate pair/),
        expect.stringMatching(/^mixed.jsonl:7 .*NUL/),
      ],
    });
  });

  test('UTF-16 of both byte orders with a byte-order mark, and truncated gzip', async () => {
    const little = Buffer.from(`\ufeff${good}`, 'utf16le');
    expect((await readAll(writeInto(folder, 'le.jsonl', little))).lines).toEqual([1]);
    expect((await readAll(writeInto(folder, 'be.jsonl', Buffer.from(little).swap16()))).lines).toEqual([1]);
    await expect(
      readAll(writeInto(folder, 'cut.jsonl.gz', gzipSync(good.repeat(2000)).subarray(0, 200))),
    ).rejects.toMatchObject({ code: 'FILE_UNREADABLE', place: { file: path.join(folder, 'cut.jsonl.gz') } });
  });

  test.each(['jsonl', 'json'])('nesting a hundred thousand levels deep in %s', async (format) => {
    const deep = `{"text": "a", "x": ${'['.repeat(100_000)}${']'.repeat(100_000)}}`;
    const file = writeInto(folder, `deep.${format}`, format === 'jsonl' ? `${deep}\n${good}` : `[${deep},\n${good}]`);
    const { lines, problems } = await readAll(file);
    expect(lines).toEqual([2]);
    expect(problems).toEqual([
      expect.stringMatching(/^deep\.jsonl?:1 .*(nested deeper than 64 levels|not valid JSON)/),
    ]);
  });

  test('CSV with stray quotes and too few fields', async () => {
    const { lines, problems } = await readAll(
      writeInto(folder, 'stray.csv', 'prompt,completion\na,b\n"a"x,b\nc"d,e\nonly one\nlast,row\n'),
    );
    expect(lines).toEqual([2, 4, 6]);
    expect(problems.map((problem) => problem.split(' ', 1)[0])).toEqual(['stray.csv:3', 'stray.csv:5']);
    // A quote that is never closed affects its own row, not the rest of the file.
    expect(await readAll(writeInto(folder, 'open.csv', `prompt,completion\na,"b\n${'c,d\n'.repeat(5000)}`))).toEqual({
      lines: Array.from({ length: 5000 }, (_, index) => index + 3),
      problems: ['open.csv:2 a quoted field is never closed'],
    });
  });

  test('a conversation of 10,000 turns is read completely', async () => {
    const messages = Array.from({ length: 10_000 }, (_, index) => ({
      role: index % 2 === 0 ? 'user' : 'assistant',
      content: `turn ${index}`,
    }));
    const source = await createConversationSource(
      { path: writeInto(folder, 'turns.jsonl', asLines([{ messages }])) },
      folder,
    );
    expect((await collect(source.conversations()))[0]?.messages).toHaveLength(10_000);
  });
});

describe('truncated gzip is an error with the file, for every format, with and without threads', () => {
  const rows = Array.from({ length: 4000 }, (_, index) => ({
    messages: chat(`question ${index * 7919}`, `answer ${index * 104_729}`).messages,
  }));
  test.each([
    ['cut.jsonl.gz', asLines(rows)],
    ['cut.json.gz', JSON.stringify(rows)],
    ['cut.csv.gz', `text\n${rows.map((_, index) => `text ${index * 7919}\n`).join('')}`],
    ['cut.txt.gz', rows.map((_, index) => `text ${index * 7919}\n`).join('')],
  ])('%s', async (name, content) => {
    const complete = gzipSync(content);
    const file = writeInto(folder, name, complete.subarray(0, Math.floor(complete.length * 0.7)));
    const source = await createConversationSource({ path: file }, folder);
    const expected = { code: 'FILE_UNREADABLE', place: { file } };
    await expect(collect(source.conversations())).rejects.toMatchObject(expected);
    // On threads, the rows before the error are read first, if each line is a row.
    let read = 0;
    const threads = { workers: 2, fromBytes: 0, blockBytes: 8192, startThread: startInline };
    await expect(
      passOnThreads(source, { kind: 'lines' }, null, threads, (block) => (read += block.read)),
    ).rejects.toMatchObject(expected);
    if (!name.includes('.json.')) expect(read).toBeGreaterThan(100);
  });
});

/** Writes a file: `start`, 100 MB, `end`. */
async function writeHuge(file: string, start: string, end: string): Promise<void> {
  const stream = createWriteStream(file);
  const megabyte = Buffer.alloc(1 << 20, 'x');
  stream.write(start);
  for (let index = 0; index < 100; index++) if (!stream.write(megabyte)) await once(stream, 'drain');
  stream.end(end);
  await once(stream, 'finish');
}

/** Returns the peak of additional memory during `work`, in bytes. */
async function memoryOf(work: () => Promise<void>): Promise<number> {
  globalThis.gc?.();
  const before = process.memoryUsage().rss;
  let most = before;
  const watch = setInterval(() => (most = Math.max(most, process.memoryUsage().rss)), 5);
  await work();
  clearInterval(watch);
  return Math.max(most, process.memoryUsage().rss) - before;
}

test.each([
  [
    'element.json',
    `[{"text": "a"},\n{"text": "`,
    '"},\n{"text": "c"}]',
    [1, 3],
    /^element\.json:2 the element has \d+ bytes/,
  ],
  ['field.csv', 'text\na\n"', '"\nc\n', [2, 4], /^field\.csv:3 the line has 100\.0 MiB/],
  ['line.txt', 'a\n', '\nc\n', [1, 3], /^line\.txt:2 the line has 100\.0 MiB/],
])(
  'a row of 100 MB is reported and not kept in memory: %s',
  async (name, start, end, lines, problem) => {
    const file = path.join(folder, name);
    await writeHuge(file, start, end);
    let found: Awaited<ReturnType<typeof readAll>> | undefined;
    const held = await memoryOf(async () => void (found = await readAll(file)));
    expect(found).toEqual({ lines, problems: [expect.stringMatching(problem)] });
    expect(held).toBeLessThan(96 * 1024 * 1024);
    truncateSync(file, 0);
  },
  120_000,
);

describe('a line of 100 MB', () => {
  const file = path.join(folder, 'huge.jsonl');

  test('is reported and not kept in memory; the other rows are read', async () => {
    await writeHuge(file, `${good}{"messages": [{"role": "user", "content": "`, `"}]}\n${good}`);
    const source = await createConversationSource({ path: file }, folder);
    const lines: (number | undefined)[] = [];
    const held = await memoryOf(async () => {
      for await (const { origin } of source.conversations()) lines.push(origin.line);
    });
    expect(lines).toEqual([1, 3]);
    expect(source.unreadable).toMatchObject([
      {
        origin: { file, line: 2 },
        reason: expect.stringMatching(/^the line has 100\.0 MiB; the limit is 32\.0 MiB/) as string,
      },
    ]);
    // The longest permitted line, twice, and the buffers of the reader.
    expect(held).toBeLessThan(96 * 1024 * 1024);
  });

  test('is read if maxRowBytes allows it', async () => {
    const { lines, problems } = await readAll(file, { maxRowBytes: 200 * 1024 * 1024 });
    expect([lines, problems]).toEqual([[1, 2, 3], []]);
    truncateSync(file, 0);
  }, 240_000);

  test('is reported if the file ends within it', async () => {
    writeFileSync(file, `${good}{"text": "${'x'.repeat(3 << 20)}`);
    expect((await readAll(file, { maxRowBytes: 1 << 20 })).problems).toEqual([
      expect.stringMatching(/^huge\.jsonl:2 the line has 3\.0 MiB/),
    ]);
  });
});

describe('the policy for unreadable rows', () => {
  const bad = (count: number) =>
    Array.from({ length: count }, (_, index) => ({
      origin: { file: 'x.jsonl', line: index + 5, index },
      reason: 'not valid JSON',
    }));

  test('above the largest share they are an error with the first row', () => {
    expect(() => enforceUnreadableLimit(bad(1), 99, { maxShare: 0.01 })).not.toThrow();
    expect(() => enforceUnreadableLimit(bad(2), 98, { maxShare: 0.01 })).toThrow(
      expect.objectContaining({
        code: 'DATA_UNREADABLE',
        place: { file: 'x.jsonl', line: 5 },
        details: expect.objectContaining({ unreadableRows: 2 }) as unknown,
      }),
    );
    expect(() => enforceUnreadableLimit(bad(1), 99, 'error')).toThrow(
      expect.objectContaining({ code: 'DATA_UNREADABLE' }),
    );
    expect(() => enforceUnreadableLimit(bad(99), 1, 'skip')).not.toThrow();
  });

  test('by default more than 1 % is an error; fewer are counted and listed', async () => {
    const build = async (rows: number) => {
      const good = Array.from({ length: rows }, (_, index) => ({ messages: chat(`q${index}`, 'a').messages }));
      const file = writeInto(folder, `share-${rows}.jsonl`, `{broken\n${asLines(good)}`);
      return createBatchSource({
        source: await createConversationSource({ path: file }, folder),
        tokenizer: characterTokenizer,
        renderer: plainRenderer,
      });
    };
    await expect(build(50)).rejects.toMatchObject({ code: 'DATA_UNREADABLE', place: { line: 1 } });
    expect((await build(150)).summary).toMatchObject({ conversations: 150, unreadable: [{ origin: { line: 1 } }] });
  });
});
