import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { createTinyModel } from 'whetstone';
import { runCommandLine } from '../../packages/cli/src/command-line.js';

let folder: string;
const path = (name: string): string => join(folder, name);
let printed: string;
let complained: string;

const dialog = (question: string, answer: string): object => ({
  dialog: [
    { who: 'customer', says: question },
    { who: 'agent', says: answer },
  ],
});
const rows = [
  dialog('Where is my parcel?', 'It is on its way!!!'),
  dialog('Call me.', 'I call 13812345678 then.'),
  dialog('Thanks a lot.', 'You are welcome.'),
];
const lines = (all: readonly object[]): string => all.map((row) => JSON.stringify(row)).join('\n');
const source = (name: string): object => ({
  use: 'conversations',
  options: {
    path: name,
    layout: 'messages',
    columns: { messages: 'dialog', role: 'who', content: 'says' },
    roles: { customer: 'user', agent: 'assistant' },
  },
});
const config = (data: object): string =>
  `// A comment.\n${JSON.stringify({ model: './tiny', strategy: 'lora', data: { maxLength: 256, ...data } })}`;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'whetstone-data-config-'));
  await createTinyModel(path('tiny'), { hiddenSize: 16, layers: 1 });
  await writeFile(path('tickets.jsonl'), lines(rows));
  await writeFile(path('eval.jsonl'), lines([rows[2] ?? {}]));
  await writeFile(path('broken.jsonl'), `${lines(rows)}\n{"dialog": [{"who": "customer"}]}\n`);
  await writeFile(
    path('run.json'),
    config({
      train: source('tickets.jsonl'),
      eval: source('eval.jsonl'),
      transforms: ['normalize-text', { use: 'redact', options: { countries: ['CN'] } }],
    }),
  );
  await writeFile(path('broken.json'), config({ train: source('broken.jsonl'), unreadableRows: 'error' }));
  await writeFile(path('shared.json'), config({ train: source('tickets.jsonl'), evalShare: 0.4 }));
});
afterAll(() => rm(folder, { recursive: true, force: true }));
beforeEach(() => {
  [printed, complained] = ['', ''];
  vi.spyOn(process.stdout, 'write').mockImplementation((text) => ((printed += String(text)), true));
  vi.spyOn(process.stderr, 'write').mockImplementation((text) => ((complained += String(text)), true));
});
afterEach(() => vi.restoreAllMocks());

const run = async (...parameters: string[]): Promise<{ code: number; result: Record<string, unknown> }> => {
  const code = await runCommandLine(['data', ...parameters, '--json']);
  return { code, result: JSON.parse(printed.trim().split('\n').at(-1) ?? '{}') as Record<string, unknown> };
};
const messagesIn = async (name: string): Promise<string[][]> =>
  (await readFile(path(name), 'utf8'))
    .trim()
    .split('\n')
    .map((line) => (JSON.parse(line) as { messages: { content: string }[] }).messages.map(({ content }) => content));

describe('whetstone data with a configuration', () => {
  it('report reads the sources with their columns and roles', async () => {
    const { code, result } = await run('report', path('run.json'), '--out', path('report.html'));
    expect(code).toBe(0);
    expect(result['report']).toMatchObject({
      conversations: 3,
      unreadable: { count: 0 },
      tokens: { maxLength: 256 },
      transforms: [{ name: 'normalize-text' }, { name: 'redact', changed: { phone: 1 } }],
    });
  });

  it('inspect uses its model', async () => {
    const { code, result } = await run('inspect', path('run.json'), '--count', '2');
    expect(code).toBe(0);
    expect(result['inspections']).toHaveLength(2);
  });

  it('clean applies its transforms, and options as JSON in place of them', async () => {
    expect((await run('clean', path('run.json'), '--out', path('a.jsonl'))).code).toBe(0);
    expect(await messagesIn('a.jsonl')).toEqual([
      ['Where is my parcel?', 'It is on its way!'],
      ['Call me.', 'I call [PHONE_1] then.'],
      ['Thanks a lot.', 'You are welcome.'],
    ]);
    const filter = '{"use": "quality-filter", "options": {"minCharacters": 32}}';
    expect((await run('clean', path('run.json'), '--out', path('b.jsonl'), '--with', filter)).code).toBe(0);
    expect(await messagesIn('b.jsonl')).toEqual([
      ['Where is my parcel?', 'It is on its way!!!'],
      ['Call me.', 'I call 13812345678 then.'],
    ]);
    const unknown = await run('clean', path('run.json'), '--out', path('c.jsonl'), '--with', 'redcat');
    expect(unknown.code).not.toBe(0);
  });

  it('clean has a policy for rows that cannot be read', async () => {
    const clean = (...more: string[]) => run('clean', path('broken.json'), '--out', path('d.jsonl'), ...more);
    expect((await clean()).code).not.toBe(0);
    expect((await clean('--unreadable-rows', '0.2')).code).not.toBe(0);
    expect((await clean('--unreadable-rows', 'some')).result).toMatchObject({ error: { code: 'USAGE' } });
    for (const policy of ['skip', '0.25']) {
      const { code, result } = await clean('--unreadable-rows', policy);
      expect(code).toBe(0);
      expect(result).toMatchObject({ unreadable: 1 });
      expect(complained).toContain('1 row cannot be read');
    }
  });

  it('augment reads its data', async () => {
    const { code } = await run('augment', path('run.json'), '--out', path('e.jsonl'), '--with', 'augment-turns');
    expect(code).toBe(0);
    expect((await messagesIn('e.jsonl')).length).toBeGreaterThanOrEqual(3);
  });

  it('leaks compares its training and evaluation data', async () => {
    expect((await run('leaks', path('run.json'))).result).toMatchObject({
      error: { code: 'DATA_LEAKAGE', details: { leaks: 1 } },
    });
    expect((await run('leaks', path('shared.json'))).code).toBe(0);
    expect((await run('leaks', path('tickets.jsonl'))).result).toMatchObject({ error: { code: 'USAGE' } });
  });

  it('names unknown roles', async () => {
    const unmapped = { messages: [{ role: 'bot', content: 'Hello.' }] };
    await writeFile(path('roles.jsonl'), lines([unmapped, unmapped]));
    await run('report', path('roles.jsonl'), '--out', path('report.html'));
    expect(complained).toContain(`The role "bot" is unknown: 2 turns, the first in ${path('roles.jsonl')}:1.`);
  });
});
