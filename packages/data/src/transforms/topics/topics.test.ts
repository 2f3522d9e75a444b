import { describe, expect, test } from 'vitest';
import type { Conversation } from '@whetstone/core/contract';
import { createBatchSource } from '../../batching/batch-source.js';
import { createConversationSource } from '../../sources/conversations.js';
import { characterTokenizer, plainRenderer, remakeHashed } from '../../testing/fakes.js';
import { asLines, collect, temporaryFolder, writeInto } from '../../testing/files.js';
import { chat, sourceOf } from '../../testing/sources.js';
import { applyTransforms } from '../apply.js';
import { createTopicTransform } from './transform.js';
import { createSpool } from './spool.js';

// Three themes of different sizes, in English and Chinese, mixed.
const pick = (words: string, index: number): string => words.split(' ')[index % words.split(' ').length] ?? '';
const themes: readonly (readonly [
  name: string,
  count: number,
  make: (index: number) => Omit<Conversation, 'origin'>,
])[] = [
  [
    'parcel',
    120,
    (index) =>
      chat(
        `Where is my parcel to ${pick('London Leeds York Bath', index)}, ordered ` +
          `${pick('monday tuesday friday', index)}?`,
        `The parcel was handed to the courier; delivery of parcel ${index} takes two days.`,
      ),
  ],
  [
    'printer',
    50,
    (index) =>
      chat(
        `The printer ${pick('jams blinks smears hums', index)} when printing ${pick('photos letters labels', index)}`,
        `Clean the printer cartridge ${index % 5} times and restart printing.`,
      ),
  ],
  [
    '退款',
    30,
    (index) => chat(`我要退款，订单${index}什么时候退款到账？`, `退款会在${(index % 6) + 1}天内到账，请耐心等待退款。`),
  ],
];
const mixed = themes
  .flatMap(([name, count, make]) =>
    Array.from({ length: count }, (_, index) => ({ name, at: (index * 7919) % count, conversation: make(index) })),
  )
  .sort((a, b) => a.at - b.at || (a.name < b.name ? -1 : 1));
const conversations = mixed.map(({ conversation }) => conversation);
const topicsOf = async (
  given: readonly Omit<Conversation, 'origin'>[],
  options: Parameters<typeof createTopicTransform>[0] = {},
): Promise<unknown[]> =>
  (await collect(applyTransforms(sourceOf(given), [createTopicTransform(options)]).conversations())).map(
    ({ columns }) => columns?.['topic'],
  );

describe('topics of raw data', () => {
  test('equal the themes, are named by their words, and are deterministic', async () => {
    const found = await topicsOf(conversations, { count: 3 });
    const themesOf = new Map<unknown, Set<string>>();
    found.forEach((topic, index) =>
      themesOf.set(topic, (themesOf.get(topic) ?? new Set()).add(mixed[index]?.name ?? '')),
    );
    expect(
      [...themesOf].map(([topic, names]) => [[...names], [...names].some((name) => String(topic).includes(name))]),
    ).toEqual(
      expect.arrayContaining([
        [['parcel'], true],
        [['printer'], true],
        [['退款'], true],
      ]),
    );
    expect(themesOf.size).toBe(3);
    expect(await topicsOf(conversations, { count: 3 })).toEqual(found);
    // With a small sample, the other conversations are assigned to the nearest cluster.
    const sampled = await topicsOf(conversations, { count: 3, sample: 60 });
    expect(new Set(sampled.map((topic, index) => `${String(topic)} ${String(found[index])}`)).size).toBe(3);
  });

  test('of one script each, also if there are fewer clusters than scripts or few texts of one', async () => {
    const russian = Array.from({ length: 3 }, (_, index) => chat(`Где моя посылка ${index}?`, 'Посылка в пути.'));
    const all = [...conversations, ...russian];
    const found = await topicsOf(all, { count: 2 });
    const scriptsOf = new Map<unknown, Set<string>>();
    for (const [index, topic] of found.entries()) {
      const text = JSON.stringify(all[index]?.messages.map(({ content }) => content));
      const script = /\p{Script=Han}/u.test(text) ? 'Han' : /\p{Script=Cyrillic}/u.test(text) ? 'Cyrillic' : 'Latin';
      scriptsOf.set(topic, (scriptsOf.get(topic) ?? new Set()).add(script));
    }
    expect([...scriptsOf.values()].map((scripts) => [...scripts]).sort()).toEqual([['Cyrillic'], ['Han'], ['Latin']]);
    // The separator of the list that prints them is no part of a name.
    for (const topic of scriptsOf.keys()) expect(topic).toMatch(/^[^,;]+$/);
  });

  test('do not replace an existing column, and are "various" for too few conversations', async () => {
    const own = conversations.map((conversation, index) =>
      index < 5 ? { ...conversation, columns: { topic: 'mine' } } : conversation,
    );
    expect((await topicsOf(own)).slice(0, 5)).toEqual(Array.from({ length: 5 }, () => 'mine'));
    expect(await topicsOf(conversations.slice(0, 3))).toEqual(['various', 'various', 'various']);
  });

  test('can be balanced with a temperature', async () => {
    const options = { workers: 0, balance: { by: 'topic', temperature: 4, maxRepeats: 10 } };
    const source = applyTransforms(sourceOf(conversations), [createTopicTransform({ count: 3 })]);
    const { summary } = await createBatchSource({
      source,
      tokenizer: characterTokenizer,
      renderer: plainRenderer,
      options,
    });
    // Shares proportional to size^(1/4); the epoch has as many samples as the data.
    const flattened = [120, 50, 30].map((size) => size ** 0.25);
    const drawn = flattened.map((share) =>
      Math.round((200 * share) / flattened.reduce((sum, value) => sum + value, 0)),
    );
    expect(summary.groups?.map((group) => [group.samples, group.drawn]).sort(([a = 0], [b = 0]) => b - a)).toEqual(
      [120, 50, 30].map((size, index) => [size, drawn[index]]),
    );
  });

  test('are cached by options', async () => {
    const folder = temporaryFolder();
    const file = writeInto(folder, 'raw.jsonl', asLines(conversations.map(({ messages }) => ({ messages }))));
    const groups = async (count: number): Promise<number | undefined> => {
      const source = applyTransforms(await createConversationSource({ path: file }, folder), [
        createTopicTransform({ count }),
      ]);
      return (
        await createBatchSource({
          source,
          tokenizer: remakeHashed(),
          renderer: plainRenderer,
          options: { workers: 0, balance: { by: 'topic' } },
          cacheFolder: folder,
        })
      ).summary.groups?.length;
    };
    expect([await groups(3), await groups(2), await groups(3)]).toEqual([3, 2, 3]);
  });
});

test('a spool returns its values in order, from memory and from the file', async () => {
  const values = Array.from({ length: 50 }, (_, index) => ({
    index,
    text: `line\nend "${'字'.repeat(index)}" \ud800`,
  }));
  for (const memory of [1e6, 500]) {
    const spool = createSpool<(typeof values)[number]>(memory);
    for (const value of values) spool.add(value);
    expect(await collect(spool.read())).toEqual(values);
    spool.close();
  }
});
