import { describe, expect, test } from 'vitest';
import { IGNORED_LABEL, type Batch, type Conversation } from '@whetstone/core/contract';
import { characterTokenizer, plainRenderer } from '../testing/fakes.js';
import { collect } from '../testing/files.js';
import { chat, sourceOf } from '../testing/sources.js';
import { createBatchSource } from './batch-source.js';
import type { BatchOptions } from './options.js';

const sequential = { shuffleDataset: false, samplingStrategy: 'sequential' } as const;

function build(conversations: readonly Omit<Conversation, 'origin'>[], options: Partial<BatchOptions> = {}) {
  return createBatchSource({
    source: sourceOf(conversations),
    tokenizer: characterTokenizer,
    renderer: plainRenderer,
    options,
  });
}

/** Returns the rows of a batch as text, and their target tokens as text. */
function show(batch: Batch): { text: string; supervised: string }[] {
  return Array.from({ length: batch.rows }, (_, row) => {
    const range = (values: Int32Array): number[] => [...values.subarray(row * batch.length, (row + 1) * batch.length)];
    const segments = range(batch.segmentIds);
    return {
      text: characterTokenizer.decode(range(batch.ids).filter((_id, index) => segments[index] !== 0)),
      supervised: characterTokenizer.decode(range(batch.labels).filter((label) => label !== IGNORED_LABEL)),
    };
  });
}

async function firstBatch(
  conversations: readonly Omit<Conversation, 'origin'>[],
  options: Partial<BatchOptions> = {},
): Promise<Batch> {
  const source = await build(conversations, { ...sequential, ...options });
  const [batch] = await collect(source.epoch(0));
  if (!batch) throw new Error('no batch');
  return batch;
}

describe('target tokens', () => {
  test("are the assistant's turns and their ends", async () => {
    expect(show(await firstBatch([chat('Hi', 'Hello', 'Bye', 'See you')]))).toEqual([
      {
        text: 'user:Hi<eos>\nassistant:Hello<eos>\nuser:Bye<eos>\nassistant:See you<eos>\n',
        supervised: 'Hello<eos>See you<eos>',
      },
    ]);
  });

  test('follow "train" of a message before its role', async () => {
    const messages = [
      { role: 'user', content: 'Hi', train: true },
      { role: 'assistant', content: 'Wrong', train: false },
      { role: 'user', content: 'No' },
      { role: 'assistant', content: 'Right' },
    ];
    expect(show(await firstBatch([{ form: 'chat', messages }]))[0]?.supervised).toBe('Hi<eos>Right<eos>');
    expect(
      show(await firstBatch([{ form: 'chat', messages }], { assistantOnlyLoss: false }))[0]?.supervised,
    ).not.toContain('Wrong');
  });

  /** Returns runs of target tokens with equal weights, as text. */
  const byWeight = ({ labels, weights }: Batch): [number, string][] => {
    const runs: [number, string][] = [];
    for (const [index, label] of labels.entries()) {
      if (label === IGNORED_LABEL) continue;
      const weight = weights?.[index] ?? 1;
      const last = runs.at(-1);
      if (last?.[0] === weight) last[1] += characterTokenizer.decode([label]);
      else runs.push([weight, characterTokenizer.decode([label])]);
    }
    return runs;
  };
  const turns = (...weights: readonly (number | undefined)[]): Omit<Conversation, 'origin'> => ({
    form: 'chat',
    messages: weights.flatMap((weight, index) => [
      { role: 'user', content: 'q' },
      { role: 'assistant', content: `a${index}`, ...(weight === undefined ? {} : { weight }) },
    ]),
  });

  test('have the weight of the turn, or of its role; turns with weight 0 have none', async () => {
    expect(byWeight(await firstBatch([turns(0.5, undefined, 0, 2)]))).toEqual([
      [0.5, 'a0<eos>'],
      [1, 'a1<eos>'],
      [2, 'a3<eos>'],
    ]);
    expect(byWeight(await firstBatch([turns(0.5, undefined)], { roleWeights: { assistant: 0.25, user: 9 } }))).toEqual([
      [0.5, 'a0<eos>'],
      [0.25, 'a1<eos>'],
    ]);
    expect(
      byWeight(
        await firstBatch([turns(0.5, undefined)], {
          rolesToTrain: ['assistant', 'user'],
          roleWeights: { assistant: 0 },
        }),
      ),
    ).toEqual([
      [1, 'q<eos>'],
      [0.5, 'a0<eos>'],
      [1, 'q<eos>'],
    ]);
    expect((await firstBatch([turns(1, undefined)])).weights).toBeUndefined();
  });

  test.each([
    ['packed', { packing: true, maxLength: 200 }, 1],
    ['split and packed', { packing: true, packingStrategy: 'bfd_split', maxLength: 16 }, undefined],
    ['sharing rows', { paddingFree: true }, undefined],
    ['padded', {}, 2],
  ] as const)('keep their weights if rows are %s, and if the start is truncated', async (_name, options, rows) => {
    const batch = await firstBatch([turns(0.5, 3), turns(2)], { ...options, batchSize: 20 });
    if (rows !== undefined) expect(batch.rows).toBe(rows);
    const found = byWeight(batch)
      .map(([weight, text]) => `${weight}:${text}`)
      .sort();
    expect(found).toEqual(['0.5:a0<eos>', '2:a0<eos>', '3:a1<eos>']);
    expect(byWeight(await firstBatch([turns(0.5, 3)], { maxLength: 10, truncationMode: 'keep_end' }))).toEqual([
      [3, 'a1<eos>'],
    ]);
  });

  test('are all tokens without assistantOnlyLoss', async () => {
    const [row] = show(await firstBatch([chat('Hi', 'Hello')], { assistantOnlyLoss: false }));
    expect(`u${row?.supervised}`).toBe(row?.text); // the first token is never predicted
  });

  test('are the last turn only, or other roles, if configured', async () => {
    expect(show(await firstBatch([chat('Hi', 'Hello', 'Bye', 'See you')], { lastTurnOnly: true }))[0]?.supervised).toBe(
      'See you<eos>',
    );
    expect(show(await firstBatch([chat('Hi', 'Hello')], { rolesToTrain: ['user'] }))[0]?.supervised).toBe('Hi<eos>');
  });

  test('are a completion and the end of text; or a complete text', async () => {
    const completion: Omit<Conversation, 'origin'> = {
      form: 'completion',
      messages: [
        { role: 'user', content: '2+2=' },
        { role: 'assistant', content: '4' },
      ],
    };
    const text: Omit<Conversation, 'origin'> = { form: 'text', messages: [{ role: 'assistant', content: 'Once' }] };
    expect(show(await firstBatch([completion, text]))).toEqual([
      { text: '<bos>2+2=4<eos>', supervised: '4<eos>' },
      { text: '<bos>Once<eos>', supervised: 'Once<eos>' },
    ]);
  });

  test('exclude the prompt, unless completionOnlyLoss is false', async () => {
    const text: Omit<Conversation, 'origin'> = {
      form: 'completion',
      messages: [
        { role: 'user', content: '2+2=' },
        { role: 'assistant', content: '4' },
      ],
    };
    const turns: Omit<Conversation, 'origin'> = {
      form: 'chat',
      messages: chat('Hi', 'Hello', 'Bye', 'See you').messages.map((message, index) =>
        index < 3 ? { ...message, isPrompt: true } : message,
      ),
    };
    const supervised = async (
      conversation: Omit<Conversation, 'origin'>,
      options: Partial<BatchOptions>,
    ): Promise<string | undefined> => show(await firstBatch([conversation], options))[0]?.supervised;
    expect(await supervised(text, { completionOnlyLoss: false })).toBe('2+2=4<eos>');
    expect(await supervised(turns, {})).toBe('See you<eos>');
    expect(await supervised(turns, { completionOnlyLoss: false })).toBe('Hello<eos>See you<eos>');
    // Without the template's text before the completion; a turn of the prompt can set "train".
    expect(await supervised(turns, { assistantOnlyLoss: false })).toBe('See you<eos>\n');
    expect(
      await supervised(
        {
          ...turns,
          messages: turns.messages.map((message, index) => (index === 1 ? { ...message, train: true } : message)),
        },
        { assistantOnlyLoss: false },
      ),
    ).toBe('Hello<eos>See you<eos>\n');
    const [everything] = show(await firstBatch([turns], { assistantOnlyLoss: false, completionOnlyLoss: false }));
    expect(`u${everything?.supervised}`).toBe(everything?.text);
  });

  test('include the end of text once, if the text contains it', async () => {
    const batch = await firstBatch([{ form: 'text', messages: [{ role: 'assistant', content: 'Once<eos>' }] }]);
    expect(show(batch)[0]?.text).toBe('<bos>Once<eos>');
  });

  test('include a pad token that ends a turn', async () => {
    const source = await createBatchSource({
      source: sourceOf([chat('Hi', 'Hello'), chat('Hi', 'Hello there, friend')]),
      tokenizer: { ...characterTokenizer, padTokenId: characterTokenizer.eosTokenId },
      renderer: plainRenderer,
      options: sequential,
    });
    const [batch] = await collect(source.epoch(0));
    expect(batch && show(batch)[0]?.supervised).toBe('Hello<eos>');
  });
});

describe('batches', () => {
  test('share rows if that needs fewer positions, with the same samples, targets and segments', async () => {
    const conversations = [
      chat('a', 'b'),
      chat('a', 'a rather long answer, longer than all the others together are'),
      chat('b', 'c'),
      chat('c', 'd'),
    ];
    const separate = await firstBatch(conversations);
    const shared = await firstBatch(conversations, { paddingFree: true });
    expect(shared.rows).toBeLessThan(separate.rows);
    expect(shared.rows * shared.length).toBeLessThan(separate.rows * separate.length);
    for (const key of ['samples', 'tokens', 'supervisedTokens'] as const) expect(shared[key]).toBe(separate[key]);
    // Each segment is one complete conversation, with the same tokens as in a separate row.
    const segmentsOf = (batch: Batch): string[] => {
      const segments = new Map<string, string[]>();
      batch.segmentIds.forEach((segment, index) => {
        if (segment === 0) return;
        const key = `${Math.floor(index / batch.length)}/${segment}`;
        segments.set(key, [
          ...(segments.get(key) ?? []),
          `${batch.ids[index]}:${batch.labels[index]}:${batch.positionIds[index]}`,
        ]);
      });
      return [...segments.values()].map((tokens) => tokens.join(' ')).sort();
    };
    expect(segmentsOf(shared)).toEqual(segmentsOf(separate));
  });

  test('are padded on the right, with segment 0 and no label at padding', async () => {
    const batch = await firstBatch([chat('a', 'b'), chat('a', 'bcd')], { padToMultipleOf: 8 });
    expect(batch.length % 8).toBe(0);
    const short = 'user:a<eos>\nassistant:b<eos>\n'.replaceAll('<eos>', '.').length;
    const row = <T>(values: ArrayLike<T>): T[] => Array.from(values).slice(0, batch.length);
    expect(row(batch.segmentIds)).toEqual([
      ...Array<number>(short).fill(1),
      ...Array<number>(batch.length - short).fill(0),
    ]);
    expect(row(batch.positionIds).slice(0, short)).toEqual(Array.from({ length: short }, (_, index) => index));
    expect(
      row(batch.labels)
        .slice(short)
        .every((label) => label === IGNORED_LABEL),
    ).toBe(true);
    expect(batch).toMatchObject({ rows: 2, samples: 2, tokens: short * 2 + 2, supervisedTokens: 2 + 4 });
  });

  test('of an epoch are reproducible, and can start in the middle', async () => {
    const conversations = Array.from({ length: 23 }, (_, index) =>
      chat(`question ${index}`, 'x'.repeat(1 + ((index * 7) % 11))),
    );
    for (const samplingStrategy of ['random', 'sequential', 'group_by_length', 'mixed_length'] as const) {
      const source = await build(conversations, { samplingStrategy, batchSize: 4 });
      const again = await build(conversations, { samplingStrategy, batchSize: 4 });
      const epoch = await collect(source.epoch(1));
      expect(epoch).toHaveLength(source.batchesPerEpoch);
      expect(await collect(again.epoch(1))).toEqual(epoch);
      expect(await collect(source.epoch(1, { skip: 2 }))).toEqual(epoch.slice(2));
      const texts = epoch.flatMap((batch) => show(batch).map(({ text }) => text));
      expect(new Set(texts).size).toBe(23);
      if (samplingStrategy !== 'sequential') expect(await collect(source.epoch(0))).not.toEqual(epoch);
    }
  });

  test('have a different order for a different seed', async () => {
    const conversations = Array.from({ length: 20 }, (_, index) => chat(`${index}`, 'y'));
    const one = await collect((await build(conversations, { seed: 1 })).epoch(0));
    const two = await collect((await build(conversations, { seed: 2 })).epoch(0));
    expect(one).not.toEqual(two);
  });

  test('of similar length have less padding', async () => {
    const conversations = Array.from({ length: 400 }, (_, index) => chat('q', 'x'.repeat((index * 37) % 200)));
    const paddingOf = async (samplingStrategy: BatchOptions['samplingStrategy']) => {
      const batches = await collect((await build(conversations, { samplingStrategy })).epoch(0));
      const slots = batches.reduce((sum, { rows, length }) => sum + rows * length, 0);
      return 1 - batches.reduce((sum, { tokens }) => sum + tokens, 0) / slots;
    };
    const [random, mixed, grouped] = [
      await paddingOf('random'),
      await paddingOf('mixed_length'),
      await paddingOf('group_by_length'),
    ];
    expect(grouped).toBeLessThan(mixed);
    expect(mixed).toBeLessThan(random / 2);
  });
});

describe('packing and token budgets', () => {
  const conversations = Array.from({ length: 40 }, (_, index) => chat('q', `${index}${'x'.repeat((index * 13) % 60)}`));
  const slots = (batches: readonly Batch[]): number =>
    batches.reduce((sum, { rows, length }) => sum + rows * length, 0);

  test.each(['bfd', 'bfd_split', 'wrapped'] as const)(
    '%s: every sample once, in separate segments, reproducible',
    async (packingStrategy) => {
      const source = await build(conversations, { packing: true, packingStrategy, maxLength: 128, batchSize: 2 });
      const batches = await collect(source.epoch(0));
      expect(batches).toHaveLength(source.batchesPerEpoch);
      expect(batches.reduce((sum, { samples }) => sum + samples, 0)).toBe(40);
      expect(batches.reduce((sum, { tokens }) => sum + tokens, 0)).toBe(source.summary.tokens);
      expect(batches.every(({ length }) => length <= 128)).toBe(true);
      expect(await collect(source.epoch(0, { skip: 1 }))).toEqual(batches.slice(1));
      for (const batch of batches) {
        batch.positionIds.forEach((position, index) => {
          const starts = batch.segmentIds[index] !== batch.segmentIds[index - 1] || index % batch.length === 0;
          if (starts && batch.segmentIds[index] !== 0)
            expect([position, batch.labels[index]]).toEqual([0, IGNORED_LABEL]);
        });
      }
    },
  );

  test('bfd_split splits long samples, bfd truncates them', async () => {
    const long = [chat('q', 'x'.repeat(300))];
    const count = async (packingStrategy: BatchOptions['packingStrategy']) => {
      const source = await build(long, { packing: true, packingStrategy, maxLength: 128 });
      return (await collect(source.epoch(0))).reduce((sum, { supervisedTokens }) => sum + supervisedTokens, 0);
    };
    expect(await count('bfd')).toBe(128 - characterTokenizer.encode('user:q<eos>\nassistant:').length);
    expect(await count('bfd_split')).toBe(301 - 2); // without the first tokens of the second and third segment
  });

  test('packing without a length is a conflict', async () => {
    await expect(build(conversations, { packing: true, maxLength: null })).rejects.toMatchObject({
      code: 'CONFIG_CONFLICT',
    });
  });

  test.each(['random', 'sequential', 'group_by_length', 'mixed_length'] as const)(
    'every batch keeps the token budget: %s',
    async (samplingStrategy) => {
      const source = await build(conversations, { tokensPerBatch: 400, samplingStrategy, padToMultipleOf: 8 });
      for (const epoch of [0, 1]) {
        const batches = await collect(source.epoch(epoch));
        expect(batches).toHaveLength(source.batchesPerEpoch);
        expect(Math.max(...batches.map(({ rows, length }) => rows * length))).toBeLessThanOrEqual(400);
        expect(batches.reduce((sum, { samples }) => sum + samples, 0)).toBe(40);
        expect(slots(batches) / batches.length).toBeGreaterThan(250);
        // A resumed run continues with the next batch.
        for (const skip of [1, batches.length - 1])
          expect(await collect(source.epoch(epoch, { skip }))).toEqual(batches.slice(skip));
      }
    },
  );
});

describe('truncation', () => {
  const long = chat('Hi', 'Hello', 'More', 'Words', 'Last', 'One');
  const tail = 'user:Last<eos>\nassistant:One<eos>\n';
  const length = characterTokenizer.encode(tail).length;

  test('keep_start, keep_end', async () => {
    const start = await build([long], { ...sequential, maxLength: 24 });
    expect(start.summary).toMatchObject({ truncated: 1, tokens: 24 });
    expect(show((await collect(start.epoch(0)))[0] as Batch)).toEqual([
      { text: 'user:Hi<eos>\nassistant:Hello', supervised: 'Hello' },
    ]);
    expect(show(await firstBatch([long], { maxLength: length, truncationMode: 'keep_end' }))[0]?.text).toBe(tail);
  });

  test('drop_turns removes complete old exchanges and keeps the system message', async () => {
    const withSystem = { ...long, messages: [{ role: 'system', content: 'S' }, ...long.messages] };
    const batch = await firstBatch([withSystem], { maxLength: 70, truncationMode: 'drop_turns' });
    expect(show(batch)[0]?.text).toBe(`system:S<eos>\nuser:More<eos>\nassistant:Words<eos>\n${tail}`);
    expect(show(await firstBatch([withSystem], { maxLength: 50, truncationMode: 'drop_turns' }))[0]?.text).toBe(
      `system:S<eos>\n${tail}`,
    );
  });

  test('error', async () => {
    await expect(build([long], { maxLength: 20, truncationMode: 'error' })).rejects.toMatchObject({
      code: 'CONTEXT_EXCEEDED',
      place: { file: 'memory.jsonl', line: 1 },
    });
  });
});

describe('no target tokens', () => {
  const good = chat('Hi', 'Hello');

  test.each([
    ['role', { form: 'chat', messages: [{ role: 'user', content: 'Hi' }] }, {}],
    [
      'template',
      {
        form: 'chat',
        messages: [
          { role: 'user', content: 'Hi' },
          { role: 'dropped', content: 'Hello' },
        ],
      },
      { rolesToTrain: ['assistant', 'dropped'] },
    ],
    ['truncation', chat('A question that is long', 'Hello'), { maxLength: 22 }],
    ['empty', { form: 'text', messages: [{ role: 'assistant', content: '' }] }, {}],
  ] as const)('are reported with the cause: %s', async (cause, bad, options) => {
    const error: unknown = await build([good, bad], options).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({
      code: 'DATA_NOTHING_TO_LEARN',
      place: { file: 'memory.jsonl', line: 2 },
      details: { causes: { [cause]: 1 } },
    });
    expect(String(error)).toContain(`(${cause})`);
    const skipped = await build([good, bad], { ...options, samplesWithoutTargets: 'skip' });
    expect(skipped.summary).toMatchObject({
      conversations: 2,
      samples: 1,
      withoutTargets: 1,
      withoutTargetsByCause: { [cause]: 1 },
    });
  });

  // Every conversation lacks targets, because of the option.
  test.each([
    [
      { rolesToTrain: ['asistant'] },
      'data.rolesToTrain',
      "No conversation has a role of data.rolesToTrain (asistant). Did you mean 'assistant'? " +
        'The data has the roles user (2 turns), assistant (1 turn).',
    ],
    [
      { roleWeights: { assistant: 0 } },
      'data.roleWeights',
      'data.roleWeights has the weight 0 for each supervised role (assistant). ' +
        'The data has the roles user (2 turns), assistant (1 turn).',
    ],
  ])('in any conversation because of %j: the option and the roles are named', async (options, path, hint) => {
    await expect(build([chat('Hi', 'Hello', 'Bye')], options)).rejects.toMatchObject({
      code: 'DATA_NOTHING_TO_LEARN',
      place: { path },
      hint,
    });
  });

  test('in any sample are an error, whatever the policy is', async () => {
    await expect(
      build([{ form: 'chat', messages: [{ role: 'user', content: 'Hi' }] }], { samplesWithoutTargets: 'skip' }),
    ).rejects.toMatchObject({
      code: 'DATA_NOTHING_TO_LEARN',
    });
  });

  test('in a complete batch are allowed with "keep", as each training step checks its targets', async () => {
    const source = await build([good, { form: 'chat', messages: [{ role: 'user', content: 'Hi' }] }], {
      ...sequential,
      samplesWithoutTargets: 'keep',
      batchSize: 1,
    });
    expect((await collect(source.epoch(0))).map(({ supervisedTokens }) => supervisedTokens)).toEqual([6, 0]);
  });

  test('an empty source is DATA_EMPTY', async () => {
    await expect(build([])).rejects.toMatchObject({ code: 'DATA_EMPTY' });
  });
});

test('the content hash depends on the content only', async () => {
  const hash = async (conversations: readonly Omit<Conversation, 'origin'>[]) =>
    (await build(conversations)).summary.contentHash;
  const one = await hash([chat('a', 'b')]);
  expect(await hash([{ ...chat('a', 'b'), columns: { topic: 'x' } }])).toBe(one);
  expect(await hash([chat('a', 'c')])).not.toBe(one);
  expect(one).toMatch(/^[0-9a-f]{64}$/);
});
