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

  it('report warns about a role of the mapping that no row has', async () => {
    const { options } = source('tickets.jsonl') as { readonly options: object };
    const roles = { custommer: 'user', customer: 'user', agent: 'assistant' };
    await writeFile(
      path('misspelled.json'),
      config({ train: { use: 'conversations', options: { ...options, roles } } }),
    );
    expect((await run('report', path('misspelled.json'), '--out', path('misspelled.html'))).code).toBe(0);
    expect(complained).toContain('The option roles.custommer of the train data has no effect');
    complained = '';
    expect((await run('report', path('run.json'), '--out', path('report.html'))).code).toBe(0);
    expect(complained).not.toContain('has no effect');
  });

  it('report reads a configuration with names of TRL', async () => {
    await writeFile(path('plain.jsonl'), lines([{ prompt: 'Where is it?', completion: 'On its way.' }]));
    const flat = { model_name_or_path: './tiny', use_peft: true, train_file: 'plain.jsonl' };
    await writeFile(path('flat.json'), JSON.stringify(flat));
    const { code, result } = await run('report', path('flat.json'), '--out', path('flat.html'));
    expect(code).toBe(0);
    expect(result['report']).toMatchObject({ conversations: 1, unreadable: { count: 0 } });
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

describe('whetstone data with a configuration of several stages', () => {
  const stages = (...all: readonly object[]): string =>
    JSON.stringify({ model: './tiny', strategy: 'lora', data: { maxLength: 256 }, stages: all });
  const more = [dialog('Do you sell tea?', 'Yes, green tea!!!'), dialog('Thank you so much.', 'Any time, of course.')];

  beforeAll(async () => {
    await writeFile(path('more.jsonl'), lines(more));
    await writeFile(
      path('stages.json'),
      stages(
        { name: 'first', data: { train: source('tickets.jsonl') } },
        { name: 'second', data: { train: source('more.jsonl'), transforms: ['normalize-text'] } },
        // The same data again: it is read once.
        { name: 'third', strategy: 'full', data: { train: source('tickets.jsonl') } },
      ),
    );
  });

  it('report counts the conversations of all stages, or of one', async () => {
    const { code, result } = await run('report', path('stages.json'), '--out', path('report.html'));
    expect(code).toBe(0);
    expect(result).toMatchObject({
      stages: ['first', 'second', 'third'],
      report: {
        conversations: 5,
        files: [path('tickets.jsonl'), path('more.jsonl')],
        tokens: { maxLength: 256 },
        transforms: [{ name: 'second: normalize-text', conversationsIn: 2 }],
      },
    });
    printed = '';
    const one = await run('report', path('stages.json'), '--out', path('report.html'), '--stage', 'second');
    expect(one.result).toMatchObject({ stages: ['second'], report: { conversations: 2 } });
  });

  it('report leaves lengths out if the stages render differently, and says so', async () => {
    await writeFile(
      path('lengths.json'),
      stages(
        { name: 'short', data: { train: source('tickets.jsonl'), maxLength: 32 } },
        { name: 'long', data: { train: source('more.jsonl') } },
      ),
    );
    const report = (...parameters: string[]) =>
      run('report', path('lengths.json'), '--out', path('report.html'), ...parameters);
    expect((await report()).result).toMatchObject({ report: { conversations: 5, tokens: null } });
    expect(printed + complained).toContain('The stages have different data.maxLength. Name one stage with --stage.');
    for (const [selection, maxLength] of [
      [['--stage', 'short'], 32],
      [['--max-length', '64'], 64],
    ] as const) {
      printed = '';
      expect((await report(...selection)).result).toMatchObject({ report: { tokens: { maxLength } } });
    }
    printed = '';
    expect((await report('--model', path('tiny'))).result).toMatchObject({ error: { code: 'USAGE' } });
  });

  it('inspect shows the first conversations of each stage', async () => {
    const { code, result } = await run('inspect', path('stages.json'), '--count', '1');
    expect(code).toBe(0);
    expect(result['inspections']).toMatchObject([
      { stage: 'first', origin: { file: path('tickets.jsonl') } },
      { stage: 'second', origin: { file: path('more.jsonl') } },
    ]);
    expect(result['proofs']).toMatchObject([
      { stage: 'first', conversations: 3 },
      { stage: 'second', conversations: 2 },
    ]);
  });

  it('clean applies the transforms of each stage to its own data, and those of --with to all data', async () => {
    expect((await run('clean', path('stages.json'), '--out', path('f.jsonl'))).code).toBe(0);
    expect((await messagesIn('f.jsonl')).map(([, answer]) => answer)).toEqual([
      'It is on its way!!!',
      'I call 13812345678 then.',
      'You are welcome.',
      'Yes, green tea!',
      'Any time, of course.',
    ]);
    expect((await run('clean', path('stages.json'), '--out', path('f.jsonl'), '--with', 'normalize-text')).code).toBe(
      0,
    );
    expect((await messagesIn('f.jsonl')).map(([, answer]) => answer)).toEqual([
      'It is on its way!',
      'I call 13812345678 then.',
      'You are welcome.',
      'Yes, green tea!',
      'Any time, of course.',
    ]);
  });

  it('augment reads all stages', async () => {
    expect((await run('augment', path('stages.json'), '--out', path('g.jsonl'), '--with', 'augment-turns')).code).toBe(
      0,
    );
    expect(await messagesIn('g.jsonl')).toHaveLength(5);
  });

  it('each stage has its own policy for unreadable rows, unless the command line has one', async () => {
    // In broken.jsonl one row of four cannot be read: a quarter of its own, and a sixth of both stages.
    const first = { name: 'first', data: { train: source('more.jsonl'), unreadableRows: 'error' } };
    const second = (maxShare: number): object => ({
      name: 'second',
      data: { train: source('broken.jsonl'), unreadableRows: { maxShare } },
    });
    const clean = async (maxShare: number, ...parameters: string[]) => {
      printed = '';
      await writeFile(path('unreadable.json'), stages(first, second(maxShare)));
      const outputs = [];
      for (const command of ['clean', 'augment']) {
        const options = ['--out', path('h.jsonl'), '--with', 'augment-turns', ...parameters];
        outputs.push((await run(command, path('unreadable.json'), ...options)).result);
      }
      return outputs;
    };
    const refused = { error: { code: 'DATA_UNREADABLE' } };
    const accepted = { unreadable: 1 };
    expect(await clean(0.25)).toMatchObject([accepted, accepted]);
    expect(await clean(0.2)).toMatchObject([refused, refused]);
    expect(await clean(0, '--unreadable-rows', '0.17')).toMatchObject([accepted, accepted]);
    expect(await clean(1, '--unreadable-rows', '0.16')).toMatchObject([refused, refused]);
  });

  it('leaks compares the evaluation of a stage with the training of this and all earlier stages', async () => {
    const of = (name: string, train: string, held?: string): object => ({
      name,
      data: { train: source(train), ...(held === undefined ? {} : { eval: source(held) }) },
    });
    // eval.jsonl repeats a row of tickets.jsonl.
    await writeFile(path('after.json'), stages(of('a', 'tickets.jsonl'), of('b', 'more.jsonl', 'eval.jsonl')));
    expect((await run('leaks', path('after.json'))).result).toMatchObject({
      error: { code: 'DATA_LEAKAGE', details: { leaks: 1 } },
    });
    printed = '';
    await writeFile(path('before.json'), stages(of('a', 'more.jsonl', 'eval.jsonl'), of('b', 'tickets.jsonl')));
    expect((await run('leaks', path('before.json'))).result).toMatchObject({ leaks: 0, stages: ['a', 'b'] });
    printed = '';
    await writeFile(
      path('both.json'),
      stages(of('a', 'tickets.jsonl', 'eval.jsonl'), of('b', 'more.jsonl', 'eval.jsonl')),
    );
    expect((await run('leaks', path('both.json'))).result).toMatchObject({ error: { details: { leaks: 1 } } });
    printed = '';
    expect((await run('leaks', path('both.json'), '--stage', 'b')).result).toMatchObject({ leaks: 0 });
  });

  it('refuses a stage that does not exist', async () => {
    const report = (...parameters: string[]) => run('report', ...parameters, '--out', path('report.html'));
    expect((await report(path('stages.json'), '--stage', 'secnd')).result).toMatchObject({
      error: { code: 'USAGE', expected: 'first, second, third', hint: "Did you mean 'second'?" },
    });
    for (const file of ['run.json', 'eval.jsonl']) {
      printed = '';
      expect((await report(path(file), '--stage', 'second')).result).toMatchObject({ error: { code: 'USAGE' } });
    }
  });
});

it('whetstone data augment has a policy for rows that cannot be read', async () => {
  const augment = (...parameters: string[]) =>
    run('augment', path('broken.json'), '--out', path('i.jsonl'), '--with', 'augment-turns', ...parameters);
  expect((await augment()).code).not.toBe(0);
  expect((await augment('--unreadable-rows', '0.2')).code).not.toBe(0);
  expect((await augment('--unreadable-rows', 'some')).result).toMatchObject({ error: { code: 'USAGE' } });
  for (const policy of ['skip', '0.25']) {
    const { code, result } = await augment('--unreadable-rows', policy);
    expect(code).toBe(0);
    expect(result).toMatchObject({ unreadable: 1 });
    expect(complained).toContain('1 row cannot be read');
  }
});
