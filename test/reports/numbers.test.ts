import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseExact, stringifyExact } from '@whetstone/core/util';
import { rowOf } from '@whetstone/data/internal';
import { casePath, fixture, readCase, renderedCases, rendererOf } from './support.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'whetstone-numbers-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

describe.each(['c08_numbers.jsonl', 'c07_meant.jsonl'])('%s renders as in transformers', (file) => {
  it.each(renderedCases(file))('line $line, $template', async ({ line, text, renderer }) => {
    const { conversations } = await readCase(casePath(file));
    const { messages, tools } = conversations[line - 1] ?? { messages: [] };
    expect(renderer.render(messages, tools).text).toBe(text);
  });
});

/** The arguments of c08 as Python's `json.dumps` writes them: see the README of the cases. */
const PYTHON =
  '{"ratio": 1.0, "big": 100000.0, "id": 9007199254740993, "huge": 12345678901234567890, "neg": -0.0, ' +
  '"small": 1e-07, "half": 0.5}';
const printArguments = rendererOf('{{ messages[1].tool_calls[0].function.arguments | tojson }}');

describe('numbers keep how they were written', () => {
  const call = { role: 'assistant', content: '', tool_calls: [{ function: { name: 'set', arguments: PYTHON } }] };
  const row = { messages: [{ role: 'user', content: 'q' }, call] };
  const nested = JSON.stringify(row).replace(JSON.stringify(PYTHON), PYTHON);

  it.each<[string, string, string]>([
    ['a JSON list', 'rows.json', `[${nested}]`],
    ['an object with a list', 'rows.json', `{"data": [${nested}]}`],
    [
      'messages that are JSON text',
      'rows.jsonl',
      JSON.stringify({ messages: stringifyExact((parseExact(nested) as typeof row).messages) }),
    ],
  ])('in %s', async (_, name, text) => {
    const file = join(folder, name);
    await writeFile(file, text);
    const { conversations } = await readCase(file);
    expect(printArguments.render(conversations[0]?.messages ?? []).text).toBe(PYTHON);
  });

  it('in a file that is written again, with those of other columns', async () => {
    const file = join(folder, 'columns.jsonl');
    await writeFile(file, `${nested.slice(0, -1)}, "id": 9007199254740993, "score": 1.0, "text": "1.0 \\"2.0\\" 1e5"}`);
    const { conversations } = await readCase(file);
    const [first] = conversations;
    const compact = nested.slice(0, -1).replaceAll('": ', '":').replaceAll(', "', ',"').replace('1e-07', '1e-7');
    const columns = ',"id":9007199254740993,"score":1.0,"text":"1.0 \\"2.0\\" 1e5"}';
    expect(first && rowOf(first)).toBe(`${compact}${columns}\n`);
  });

  it('in a turn weight', async () => {
    const file = join(folder, 'weight.jsonl');
    await writeFile(
      file,
      '{"messages":[{"role":"user","content":"q"},{"role":"assistant","content":"a","weight":2.0}]}',
    );
    expect((await readCase(file)).conversations[0]?.messages[1]?.weight).toBe(2);
  });
});

describe('Parquet', () => {
  it('reads the same conversations as the JSON Lines that are meant, without the nulls of structs', async () => {
    const [arrow, meant] = [await readCase(casePath('c07_arrow.parquet')), await readCase(casePath('c07_meant.jsonl'))];
    const plain = ({ conversations }: typeof arrow): unknown =>
      conversations.map(({ messages, tools }) => stringifyExact([messages, tools]));
    expect(plain(arrow)).toEqual(plain(meant));
  });

  it('keeps integers, whole floats, decimals, and nulls of maps', async () => {
    const { conversations } = await readCase(casePath('numbers.parquet'));
    expect(printArguments.render(conversations[0]?.messages ?? []).text).toBe(fixture.parquetArguments);
    expect(stringifyExact(conversations[0]?.columns)).toBe('{"id":9007199254740993}');
  });
});

it('JSON of any kind is read as by JSON.parse, apart from its numbers', () => {
  const texts = [
    '1',
    '-0',
    '"\\\\"',
    '"a\\"1.0"',
    '{"a\\"":[1.5,"2.0",{"b":null}],"":true}',
    '[9007199254740991,-9007199254740991]',
  ];
  for (const text of texts) expect(parseExact(text)).toEqual(JSON.parse(text));
  expect(stringifyExact(parseExact('[2.9999999999999999, 1E2, 1e400, "1.0", 9007199254740992]'))).toBe(
    '[3.0,100.0,1e999,"1.0",9007199254740992]',
  );
  expect(() => parseExact('{"a": 1.0')).toThrow(SyntaxError);
});
