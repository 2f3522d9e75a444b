import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import type { Conversation } from '@whetstone/core/contract';
import { createRandom } from '@whetstone/core/random';
import { asLines, collect, temporaryFolder, writeInto } from '../../testing/files.js';
import { chat, sourceOf } from '../../testing/sources.js';
import { applyTransforms } from '../apply.js';
import { createTurnTransform } from '../../augment/transforms.js';
import { createConversationSource } from '../../sources/conversations.js';
import { orderWarnings, splitWarning } from '../order.js';
import { createSplit } from '../split/transform.js';
import { createTopicTransform } from '../topics/transform.js';
import { createDecontaminateTransform } from '../decontaminate/transform.js';
import { createDuplicateFinder, fingerprintOf } from './finder.js';
import { defaultDuplicateOptions } from './options.js';
import { findLeaks } from './leakage.js';
import { minHashSignature, shingleHashes, SKETCH_HASHES, sketchOf, sketchSimilarity } from './min-hash.js';
import { createDeduplicateTransform } from './transform.js';
import { createSimilarityIndex } from './similarity-index.js';

const text = (content: string): Conversation => ({
  form: 'text',
  messages: [{ role: 'assistant', content }],
  origin: { index: 0 },
});

// 20 pairs of duplicates (typing errors, widths, a word more or less) and 20 pairs of similar texts, in English and
// Chinese.
const pairs = readFileSync(new URL('../../../../../test/labelled/near-duplicates.jsonl', import.meta.url), 'utf8')
  .trim()
  .split('\n')
  .map((line) => JSON.parse(line) as { readonly a: string; readonly b: string; readonly duplicate: boolean });

test('precision and recall on labelled pairs', () => {
  const found = pairs.map(({ a, b, duplicate }) => {
    const finder = createDuplicateFinder(defaultDuplicateOptions);
    const fingerprint = (content: string) => fingerprintOf(text(content), defaultDuplicateOptions);
    finder.add(fingerprint(a), { index: 0 });
    return { a, b, duplicate, found: finder.find(fingerprint(b)) };
  });
  const right = found.filter((pair) => pair.duplicate && pair.found).length;
  const precision = right / found.filter((pair) => pair.found).length;
  const recall = right / found.filter((pair) => pair.duplicate).length;
  expect(found.filter((pair) => !pair.duplicate && pair.found)).toEqual([]);
  expect(found.filter((pair) => pair.duplicate && !pair.found).map(({ a, b }) => [a, b])).toEqual([]);
  expect(precision).toBe(1);
  expect(recall).toBeGreaterThanOrEqual(0.9);
});

test('sketches give the Jaccard similarity: exactly for short texts, nearly for long ones', () => {
  const jaccard = (a: Uint32Array, b: Uint32Array): number => {
    const [one, two] = [new Set(a), new Set(b)];
    return [...one].filter((hash) => two.has(hash)).length / new Set([...one, ...two]).size;
  };
  for (const { a, b } of pairs) {
    const [one, two] = [shingleHashes(a), shingleHashes(b)];
    const exact = jaccard(one, two);
    expect(sketchSimilarity(sketchOf(one), sketchOf(two))).toBeCloseTo(exact, 12);
    for (const atLeast of [0.5, 0.7, 0.9]) {
      const similarity = sketchSimilarity(sketchOf(one), sketchOf(two), atLeast);
      if (exact >= atLeast) expect(similarity).toBeCloseTo(exact, 12);
      else expect(similarity).toBeLessThan(atLeast);
    }
  }
  const numbers = (from: number, to: number): string =>
    Array.from({ length: to - from }, (_, index) => `n${from + index}`).join(' ');
  const [one, two] = [shingleHashes(numbers(0, 2000)), shingleHashes(numbers(300, 2300))];
  // Four standard errors of 256 hashes.
  expect(Math.abs(sketchSimilarity(sketchOf(one), sketchOf(two)) - jaccard(one, two))).toBeLessThan(
    4 * Math.sqrt(0.25 / SKETCH_HASHES),
  );
});

test.each([false, true])('the index finds the same pairs as a comparison of all pairs (filtered: %s)', (isFiltered) => {
  const texts = pairs.flatMap(({ a, b }) => [a, b]);
  expect(texts.length).toBeGreaterThan(0);
  const index = createSimilarityIndex(0.7, isFiltered);
  texts.forEach((one, position) => {
    const hashes = shingleHashes(one);
    const set = { signature: minHashSignature(hashes), sketch: sketchOf(hashes) };
    const similarities = texts
      .slice(0, position)
      .map((other) => sketchSimilarity(sketchOf(hashes), sketchOf(shingleHashes(other))));
    const best = Math.max(0, ...similarities);
    const found = index.find(set);
    expect(found !== null).toBe(best >= 0.7);
    if (found) expect(similarities[found.entry]).toBeCloseTo(found.similarity, 12);
    index.add(set);
  });
});

test.each([0.3, 0.7, 0.9, 1])('the filter of an index excludes nothing that it would find at %f', (threshold) => {
  const [plain, filtered] = [createSimilarityIndex(threshold), createSimilarityIndex(threshold, true)];
  const random = createRandom(1, 'filter');
  // Sets of 1 to about 1,000 members, of which each differs from the one before in up to half of the members.
  let members = new Set<number>();
  let found = 0;
  for (let count = 0; count < 400; count++) {
    if (count % 8 === 0) {
      const size = Math.ceil(Math.exp(random.uniform() * 7));
      members = new Set(Array.from({ length: size }, () => random.integer(2 ** 31)));
    }
    const share = random.uniform() / 2;
    const kept = [...members].filter(() => random.uniform() >= share);
    members = new Set([...kept, ...Array.from({ length: members.size - kept.length }, () => random.integer(2 ** 31))]);
    const hashes = Uint32Array.from(members).toSorted();
    const set = { signature: minHashSignature(hashes), sketch: sketchOf(hashes) };
    const expected = plain.find(set);
    expect(filtered.find(set)).toEqual(expected);
    if (expected !== null) found++;
    plain.add(set);
    filtered.add(set);
  }
  expect(found).toBeGreaterThan(5);
});

describe('the transform', () => {
  const conversations = [
    chat('Can I return my shoes?', 'Yes, within thirty days, if they were not worn.'),
    chat('can I return my shoes', 'Yes, within thirty days, if they were not worn!'),
    chat('Can I return my shoes?', 'Yes, within thirty days if they have not been worn.'),
    chat('Where is my parcel?', 'It will arrive tomorrow.'),
  ];

  test('keeps the first conversation, and reports what each of the others repeats', async () => {
    const transform = createDeduplicateTransform({ threshold: 0.6 });
    const kept = await collect(applyTransforms(sourceOf(conversations), [transform]).conversations());
    expect(kept.map(({ origin }) => origin.index)).toEqual([0, 3]);
    expect(transform.report.removed).toEqual({ 'exact-duplicate': 1, 'near-duplicate': 1 });
    expect(transform.report.removals[0]?.detail).toBe('the same as memory.jsonl:1');
    expect(transform.report.removals[1]?.detail).toMatch(/^\d\d % similar to memory\.jsonl:1$/);
    // A second pass has no state of the first.
    expect(await collect(applyTransforms(sourceOf(conversations), [transform]).conversations())).toHaveLength(2);
  });

  test('reports or removes conversations of the evaluation data', async () => {
    const folder = temporaryFolder();
    writeInto(folder, 'eval.jsonl', asLines([{ messages: conversations[3]?.messages }]));
    const run = (onLeak: 'error' | 'drop') => {
      const transform = createDeduplicateTransform({ against: ['eval.jsonl'], onLeak, near: false }, folder);
      return collect(applyTransforms(sourceOf(conversations), [transform]).conversations());
    };
    await expect(run('error')).rejects.toMatchObject({
      code: 'DATA_LEAKAGE',
      problems: [{ place: { file: 'memory.jsonl', line: 4 } }],
    });
    expect((await run('drop')).map(({ origin }) => origin.index)).toEqual([0, 2]);
    expect(
      await findLeaks(sourceOf(conversations), sourceOf([conversations[3] as (typeof conversations)[number]])),
    ).toMatchObject({ count: 1, first: [{ train: { index: 3 }, eval: { index: 0 }, similarity: 1 }] });
  });
});

test('replies with other reasoning are not duplicates', () => {
  const fingerprint = (reasoning: string) =>
    fingerprintOf(
      { ...text('4'), messages: [{ role: 'assistant', content: '4', reasoning_content: reasoning }] },
      defaultDuplicateOptions,
    );
  expect(fingerprint('add them')).not.toEqual(fingerprint('count upwards'));
  expect(fingerprint('add them')).toEqual(fingerprint('Add them.'));
});

describe('evaluation data in parts of training conversations', () => {
  const question = 'My printer is not printing.';
  const answer = "Ensure it's powered on and has paper, then restart it.";
  const longReply =
    'First unplug the router and wait for half a minute. Then plug it in again, wait until the second lamp is green, ' +
    'and only then restart your computer, so that both find each other.';
  const other = ['Do you sell umbrellas?', 'Yes, in every shop of ours.'] as const;
  const evaluation = sourceOf([
    chat(question, answer),
    chat('Hello!', 'Hi, how can I help you?', 'Why is the internet so slow?', longReply, 'Thanks!', 'You are welcome.'),
    chat('打印机无法打印怎么办？', '请检查打印机的电源和纸张，然后重新启动。', '谢谢！', '不客气。'),
  ]);
  const leakOf = async (...texts: string[]) =>
    (await findLeaks(sourceOf([chat(...texts)]), evaluation)).first.map(({ part, eval: of, similarity }) => [
      part,
      of.index,
      similarity === 1 ? 'same' : similarity >= 0.7 ? 'near' : similarity,
    ]);

  test('an exchange is found in a longer conversation, exactly and nearly', async () => {
    expect(await leakOf(...other, 'my printer is NOT printing', answer, ...other)).toEqual([['exchange', 0, 'same']]);
    const near = 'Ensure that it is powered on and has paper, then restart it.';
    expect(await leakOf(...other, question, near)).toEqual([['exchange', 0, 'near']]);
    const shop = ['你们几点开门？', '我们早上九点开门，晚上八点关门。'];
    expect(await leakOf(...shop, '打印机无法打印怎么办', '请检查打印机的电源和纸张，然后重新启动')).toEqual([
      ['exchange', 2, 'same'],
    ]);
  });

  test('an exchange of a longer evaluation conversation is found alone', async () => {
    expect(await leakOf('Why is the internet so slow?', longReply)).toEqual([['conversation', 1, 'same']]);
  });

  test('a long reply to another question is found, exactly and nearly', async () => {
    const moved =
      'I moved to another house last week, and since then neither the television nor the telephone nor any of the ' +
      'laptops of my family can open a page; what am I to do with the machine that your technician left in the hall?';
    expect(await leakOf(...other, moved, longReply)).toEqual([['reply', 1, 'same']]);
    expect(await leakOf(moved, longReply.replace('computer', 'notebook'))).toEqual([['reply', 1, 'near']]);
  });

  test('short exchanges that are common, and other answers, are no leaks', async () => {
    expect(await leakOf('Hello!', 'Hi, how can I help you?', ...other, 'Thanks!', 'You are welcome.')).toEqual([]);
    expect(await leakOf('你好', '你好！', '谢谢！', '不客气。')).toEqual([]);
    expect(await leakOf(...other, question, 'Nobody in this shop knows anything about machines of that kind.')).toEqual(
      [],
    );
  });

  test('system messages and results of tools between question and answer do not hide an exchange', async () => {
    const messages = [
      { role: 'system', content: 'Be brief.' },
      ...chat(...other).messages,
      { role: 'user', content: question },
      {
        role: 'assistant',
        content: null,
        tool_calls: [{ type: 'function', function: { name: 'f', arguments: '{}' } }],
      },
      { role: 'tool', content: 'nothing' },
      { role: 'assistant', content: answer },
    ] as const;
    const train = sourceOf([{ form: 'chat', messages }]);
    expect(await findLeaks(train, evaluation)).toMatchObject({ count: 1, first: [{ part: 'exchange' }] });
  });

  test('the error, deduplicate and decontaminate name the exchange', async () => {
    const folder = temporaryFolder();
    writeInto(folder, 'eval.jsonl', asLines([{ messages: chat(question, answer).messages }]));
    const train = sourceOf([chat(...other, question, answer), chat(...other)]);
    const against = { against: ['eval.jsonl'] };
    const failing = createDeduplicateTransform(against, folder);
    await expect(collect(applyTransforms(train, [failing]).conversations())).rejects.toMatchObject({
      code: 'DATA_LEAKAGE',
      problems: [
        {
          message: expect.stringMatching(
            /^an exchange is the same as one in .*eval\.jsonl:1: "my printer is not printing↵/,
          ),
        },
      ],
      details: { pairs: [{ part: 'exchange', similarity: 1 }] },
    });
    for (const transform of [
      createDeduplicateTransform({ ...against, onLeak: 'drop' }, folder),
      createDecontaminateTransform({ benchmarks: ['eval.jsonl'], words: 50 }, folder),
    ]) {
      const kept = await collect(applyTransforms(train, [transform]).conversations());
      expect(kept.map(({ origin }) => origin.index)).toEqual([1]);
      expect(transform.report.removals[0]?.detail).toMatch(/^an exchange is the same as one in/);
    }
  });

  test('conversations without text are no duplicates of one another', async () => {
    const call = (name: string): Omit<Conversation, 'origin'> => ({
      form: 'chat',
      messages: [
        { role: 'assistant', content: null, tool_calls: [{ type: 'function', function: { name, arguments: '{}' } }] },
      ],
    });
    const source = sourceOf([call('open_the_door'), call('weather'), call('weather')]);
    const kept = await collect(applyTransforms(source, [createDeduplicateTransform({ near: false })]).conversations());
    expect(kept.map(({ origin }) => origin.index)).toEqual([0, 1]);
  });

  test('no evaluation exchange of the shipped dialogues stays after augmentation', async () => {
    const data = (name: string): string =>
      fileURLToPath(new URL(`../../../../../examples/data/chatterbot-${name}.jsonl`, import.meta.url));
    const held = [data('en.eval'), data('zh.eval')];
    const exchanges = new Set<string>();
    const wordsIn = (text: string): number =>
      (text.match(/\p{Script=Han}/gu)?.length ?? 0) / 2 + (text.match(/[^\s\p{Script=Han}]+/gu)?.length ?? 0);
    const pairAt = (messages: Conversation['messages'], index: number): string =>
      `${String(messages[index]?.content)}\n${String(messages[index + 1]?.content)}`;
    for await (const { messages } of (await createConversationSource({ path: held }, '.')).conversations())
      for (const [index, { role }] of messages.entries())
        if (role === 'user' && wordsIn(pairAt(messages, index)) >= 8) exchanges.add(pairAt(messages, index));
    const transforms = [
      createTurnTransform({ methods: ['drop', 'merge', 'join'] }),
      createDeduplicateTransform({ against: held, onLeak: 'drop' }),
    ];
    const train = await createConversationSource({ path: data('en.train'), limit: 700 }, '.');
    const left = await collect(applyTransforms(train, transforms).conversations());
    expect(exchanges.size).toBeGreaterThan(100);
    expect(left.length).toBeGreaterThan(300);
    expect(left.filter(({ messages }) => messages.some((_, index) => exchanges.has(pairAt(messages, index))))).toEqual(
      [],
    );
  });
});

test('an order of transforms that cannot be meant is reported by name', () => {
  const against = createDeduplicateTransform({ against: ['eval.jsonl'] });
  const plain = createDeduplicateTransform();
  const turns = createTurnTransform();
  const decontaminate = createDecontaminateTransform({ benchmarks: ['b.jsonl'], words: 10 }, '.');
  const split = createSplit({ part: 'train', share: 0.1, seed: 1 });
  expect(orderWarnings([split, plain, against, decontaminate, turns])).toEqual([]);
  for (const [late, name] of [
    [against, 'deduplicate'],
    [plain, 'deduplicate'],
    [decontaminate, 'decontaminate'],
    [createTopicTransform(), 'topics'],
    [split, 'data.evalShare'],
  ] as const)
    expect(orderWarnings([turns, late])).toEqual([
      expect.stringMatching(new RegExp(`"augment-turns" comes before "${name}"\\. .* Put "${name}" first`)),
    ]);
});

test('a split of data that was augmented before is reported', async () => {
  const split = createSplit({ part: 'train', share: 0.5, seed: 1 });
  const rows = [chat('a', 'b'), { ...chat('a', 'c'), columns: { augmentation: 'synonyms' } }];
  await collect(applyTransforms(sourceOf(rows), [split]).conversations());
  expect(splitWarning([split.report])).toMatch(/data\.evalShare splits data that was augmented before: 1 conversation/);
  await collect(applyTransforms(sourceOf(rows.slice(0, 1)), [split]).conversations());
  expect(splitWarning([split.report])).toBeNull();
});

test('decontamination finds a sequence of words of a benchmark, in English and Chinese', async () => {
  const folder = temporaryFolder();
  writeInto(
    folder,
    'a.jsonl',
    asLines([
      {
        prompt: 'Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in May.',
        completion: '72',
      },
    ]),
  );
  writeInto(folder, 'b.csv', 'text\n小明有五个苹果，他吃了两个，还剩几个苹果？\n');
  const transform = createDecontaminateTransform({ benchmarks: ['a.jsonl', 'b.csv'], words: 10 }, folder);
  const kept = await collect(
    applyTransforms(
      sourceOf([
        chat('Solve: natalia sold clips to 48 of her friends in April, and then she slept.', 'ok'),
        chat('小明有五个苹果，他吃了两个。', '好'),
        chat('Natalia sold clips.', 'Did she?'),
      ]),
      [transform],
    ).conversations(),
  );
  expect(kept.map(({ origin }) => origin.index)).toEqual([2]);
  expect(transform.report.removals.map(({ detail }) => detail?.replace(folder, ''))).toEqual([
    expect.stringMatching(/has 10 consecutive words in common with .a\.jsonl:1/),
    expect.stringMatching(/b\.csv:2/),
  ]);
});
