import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { runCommandLine } from '../command-line.js';

const folder = mkdtempSync(join(tmpdir(), 'whetstone-data-command-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const chat = (question: string, answer: string): string =>
  `${JSON.stringify({
    messages: [
      { role: 'user', content: question },
      { role: 'assistant', content: answer },
    ],
  })}\n`;
const file = (name: string, content: string): string => {
  writeFileSync(join(folder, name), content);
  return join(folder, name);
};

let printed: string;
beforeEach(() => {
  printed = '';
  vi.spyOn(process.stdout, 'write').mockImplementation((text) => ((printed += String(text)), true));
  vi.spyOn(process.stderr, 'write').mockImplementation(() => true);
});
afterEach(() => vi.restoreAllMocks());

const run = async (...parameters: string[]): Promise<{ code: number; result: Record<string, unknown> }> => {
  const code = await runCommandLine(['data', ...parameters, '--json']);
  return { code, result: JSON.parse(printed.trim().split('\n').at(-1) ?? '{}') as Record<string, unknown> };
};

describe('whetstone data', () => {
  const dirty =
    chat('Where is my parcel?', 'It is on its way!!!') +
    chat('where is my parcel', 'It is on its way.') +
    chat('Call me', 'I will call 13812345678 then.') +
    chat('Hello', '');

  test('clean writes the remaining conversations, and the reasons for removals', async () => {
    const { code, result } = await run(
      'clean',
      file('dirty.jsonl', dirty),
      '--out',
      join(folder, 'clean.jsonl'),
      '--removals',
      join(folder, 'removals.jsonl'),
    );
    expect(code).toBe(0);
    expect(readFileSync(join(folder, 'clean.jsonl'), 'utf8')).toBe(
      chat('Where is my parcel?', 'It is on its way!') + chat('Call me', 'I will call [PHONE_1] then.'),
    );
    expect(
      readFileSync(join(folder, 'removals.jsonl'), 'utf8')
        .trim()
        .split('\n')
        .map((line) => (JSON.parse(line) as { reason: string }).reason),
    ).toEqual(['empty-turn', 'exact-duplicate']);
    expect(result['transforms']).toHaveLength(4);
  });

  test('clean leaves no file behind if a row cannot be read', async () => {
    const { code, result } = await run(
      'clean',
      file('broken.jsonl', `${dirty}{\n`),
      '--out',
      join(folder, 'not.jsonl'),
    );
    expect(code).toBe(1);
    expect(result).toMatchObject({ error: { code: 'DATA_UNREADABLE' } });
    expect(() => readFileSync(join(folder, 'not.jsonl'))).toThrow();
  });

  test('report writes a page; a gate fails the command', async () => {
    const out = join(folder, 'report.html');
    expect((await run('report', file('dirty.jsonl', dirty), '--out', out)).code).toBe(0);
    expect(readFileSync(out, 'utf8')).toContain('<h1>dirty.jsonl</h1>');
    const { code, result } = await run(
      'report',
      join(folder, 'dirty.jsonl'),
      '--out',
      out,
      '--gate',
      file('gate.json', '{"maxDuplicates": 0.1}'),
    );
    expect(code).toBe(1);
    expect(result).toMatchObject({ error: { code: 'DATA_QUALITY', problems: [{ message: 'maxDuplicates' }] } });
  });

  test('augment writes the conversations and their copies with their origins', async () => {
    const files = [
      file('plain.jsonl', chat('Where is my 快递?', 'It comes.') + chat('Hello', 'Hi')),
      file('words.json', '{"快递": ["包裹"]}'),
    ];
    const transform = JSON.stringify({ use: 'augment-synonyms', options: { dictionary: files[1], rate: 1 } });
    const { code, result } = await run(
      'augment',
      files[0] ?? '',
      '--out',
      join(folder, 'more.jsonl'),
      '--with',
      transform,
      '--with',
      'augment-turns',
    );
    expect(code).toBe(0);
    const rows = readFileSync(join(folder, 'more.jsonl'), 'utf8')
      .trim()
      .split('\n')
      .map(
        (line) =>
          JSON.parse(line) as { messages: { content: string }[]; augmentation?: string; augmentedFrom?: string },
      );
    expect(
      rows.map(({ messages, augmentation, augmentedFrom }) => [messages[0]?.content, augmentation, augmentedFrom]),
    ).toEqual([
      ['Where is my 快递?', undefined, undefined],
      ['Where is my 包裹?', 'synonyms', `${files[0]}:1`],
      ['Hello', undefined, undefined],
    ]);
    expect(result).toMatchObject({
      transforms: [
        { name: 'augment-synonyms', conversationsOut: 3 },
        { name: 'augment-turns', conversationsIn: 3 },
      ],
    });
  });

  test.each([
    ['an unknown transform', 'augment-synonims', 2],
    ['a wrong option', '{"use": "augment-synonyms", "options": {"rat": 1}}', 2],
    ['broken JSON', '{"use": ', 2],
  ])('augment refuses %s', async (_, transform, expected) => {
    expect(
      (
        await run(
          'augment',
          file('plain.jsonl', chat('a', 'b')),
          '--out',
          join(folder, 'none.jsonl'),
          '--with',
          transform,
        )
      ).code,
    ).toBe(expected);
    expect(() => readFileSync(join(folder, 'none.jsonl'))).toThrow();
  });

  test('diff and leaks', async () => {
    const [before, after] = [
      file('before.jsonl', chat('a', '1') + chat('b', '2')),
      file('after.jsonl', chat('b', 'two') + chat('c', '3')),
    ];
    expect((await run('diff', before, after)).result).toMatchObject({
      unchanged: 0,
      added: [{ line: 2 }],
      removed: [{ line: 1 }],
      changed: [{ before: { line: 2 }, after: { line: 1 } }],
    });
    printed = '';
    expect((await run('leaks', before, after)).code).toBe(0);
    printed = '';
    expect(await run('leaks', before, before)).toMatchObject({ code: 1, result: { error: { code: 'DATA_LEAKAGE' } } });
  });

  test('diff reports unreadable rows, and compares the data of two runs', async () => {
    const whole = file('whole.jsonl', chat('a', '1') + chat('b', '2'));
    expect(await run('diff', whole, file('torn.jsonl', `${chat('a', '1')}{oops\n`))).toMatchObject({
      code: 0,
      result: { unchanged: 1, unreadable: { before: 0, after: 1 } },
    });
    printed = '';
    expect(await run('diff', whole, file('nothing.jsonl', '{oops\n'))).toMatchObject({
      code: 1,
      result: { error: { code: 'DATA_UNREADABLE' } },
    });
    const manifest = (rows: number): object => ({
      format: 1,
      contentHash: `hash ${rows}`,
      sources: [],
      transforms: [],
      counts: { conversations: rows },
    });
    for (const [name, rows] of [
      ['first', 3],
      ['second', 4],
    ] as const) {
      mkdirSync(join(folder, name));
      file(join(name, 'data.json'), JSON.stringify({ train: manifest(rows), eval: null }));
    }
    printed = '';
    expect((await run('diff', join(folder, 'first'), join(folder, 'second', 'data.json'))).result).toEqual({
      changes: [
        { path: 'train.contentHash', before: 'hash 3', after: 'hash 4' },
        { path: 'train.counts.conversations', before: 3, after: 4 },
      ],
    });
    printed = '';
    expect(await run('diff', join(folder, 'first'), whole)).toMatchObject({
      code: 2,
      result: { error: { code: 'USAGE' } },
    });
  });

  test('unknown cleaners are reported', async () => {
    expect(
      await run('clean', file('dirty.jsonl', dirty), '--out', join(folder, 'x.jsonl'), '--with', 'polish'),
    ).toMatchObject({ code: 2, result: { error: { code: 'USAGE' } } });
  });
});
