import { beforeAll, describe, expect, test } from 'vitest';
import type { Conversation, DataTransform } from '@whetstone/core/contract';
import { createRandom } from '@whetstone/core/random';
import { collect, temporaryFolder, writeInto } from '../testing/files.js';
import { chat, sourceOf } from '../testing/sources.js';
import { applyTransforms } from '../transforms/apply.js';
import { commonSynonyms } from './common-synonyms.js';
import { readDictionary } from './dictionaries.js';
import { inflect } from './inflection.js';
import { dictionaryLexicon, isFunctionWord, type Lexicon } from './lexicon.js';
import { createSynonymTransform } from './synonym-transform.js';
import { createReplacer } from './synonyms.js';
import { openWordNet } from './word-net.js';

const run = (
  conversations: readonly Omit<Conversation, 'origin'>[],
  transform: DataTransform,
): Promise<Conversation[]> => collect(applyTransforms(sourceOf(conversations), [transform]).conversations());
const contents = ({ messages }: Conversation): unknown[] => messages.map(({ content }) => content);

const words = new Map([
  ['quick', ['fast']],
  ['parcel', ['package']],
  ['smith', ['forger']],
  ['acme', ['top']],
  ['not', ['non']],
  ['two', ['deuce']],
  ['apple', ['pear']],
  ['快递', ['包裹']],
  ['快', ['慢']],
  ['什么时候', ['何时']],
  ['不能', ['无法']],
  ['明白', ['清楚']],
]);
const replacing = (lexicon: Lexicon, protect: readonly string[] = []) => {
  const replacer = createReplacer(lexicon, { rate: 1, protect: new Set(protect) }, createRandom(1));
  return (text: string): string => replacer.replace(text);
};
const replace = replacing(dictionaryLexicon(words), ['acme']);

describe('words', () => {
  test('keep their case; names, placeholders, code and protected words are not changed', () => {
    expect(
      replace('Quick! Where is my parcel, Mr Smith? [PARCEL_1] from Acme: `quick parcel` https://example.com/parcel'),
    ).toBe('Fast! Where is my package, Mr Smith? [PARCEL_1] from Acme: `quick parcel` https://example.com/parcel');
  });

  test.each([
    'It is not here.',
    "It isn't two.",
    'She said "quick parcel" and “parcel”, «parcel», \'quick parcel\'.',
    '> quick parcel',
    '我说「快递」和“快递”。',
    'parcel = quick(parcel);',
    'if (parcel == 1) {',
    'def parcel(quick):',
    '$ npm parcel',
    'See ./parcel/quick.txt, parcel_id, parcel.name, quick-parcel and user@parcel.com.',
    '    parcel quick',
    'An apple a day.',
    'PARCEL and pARCEL',
    'the Parcel',
  ])('are not changed in %j', (text) => {
    expect(replace(text)).toBe(text);
  });

  test('do not change placeholders of any kind, also in Chinese', () => {
    const slots = '[PARCEL_1] {{parcel}} ${parcel} {parcel} <PARCEL> %(parcel)s';
    expect(replace(`quick ${slots} parcel`)).toBe(`fast ${slots} package`);
    expect(replace('【快递】和{{快递}}，我的快递')).toBe('【快递】和{{快递}}，我的包裹');
  });

  test('in Chinese are the longest ones between word boundaries, and no negations', () => {
    expect(replace('我的快递什么时候到')).toBe('我的包裹何时到');
    expect(replace('我不能来')).toBe('我不能来');
    // 明白 is no word of 说明白纸 (explain, white paper).
    expect(replace('请说明白纸的价格')).toBe('请说明白纸的价格');
    expect(replace('我明白了')).toBe('我清楚了');
  });

  test('that occur again have the same replacement', () => {
    const lexicon = dictionaryLexicon(new Map([['parcel', ['package', 'packet', 'box', 'bundle']]]));
    const result = replacing(lexicon)('parcel parcel parcel parcel parcel parcel');
    expect(new Set(result.split(' ')).size).toBe(1);
  });

  test('of grammar are never replaced', () => {
    for (const word of ['not', 'needs', 'but', 'two', 'isn’t', 'without', '没有', '三天', '我们'])
      expect(isFunctionWord(word), word).toBe(true);
    for (const word of ['parcel', 'quickly', '快递']) expect(isFunctionWord(word), word).toBe(false);
  });
});

describe('WordNet', () => {
  let wordNet: Lexicon;
  beforeAll(async () => {
    wordNet = await openWordNet();
  });

  // The words of the issue, words of several meanings or parts of speech, and irregular forms.
  test.each([
    'needs',
    'beats',
    'city',
    'die',
    'password',
    'run',
    'left',
    'found',
    'saw',
    'bank',
    'book',
    'zzz',
    'java',
    // Rarer, or with a meaning that a sentence can lack: babes, gag, publishing, encouraged, soiled.
    'babies',
    'joke',
    'printing',
    'promoted',
    'dirty',
  ])('has no synonyms of "%s"', (word) => {
    expect(wordNet.synonymsOf(word)).toEqual([]);
  });

  // Meanings and counts are those of WordNet 3.1: doctor and physician, big and large share their most frequent one.
  test.each([
    ['physician', 'doctor'],
    ['physicians', 'doctors'],
    ['big', 'large'],
  ])('replaces %s by %s', (word, synonym) => {
    expect(wordNet.synonymsOf(word)).toContain(synonym);
  });

  test('replaces common words that WordNet finds ambiguous, in their inflection', () => {
    expect(wordNet.synonymsOf('movies')).toEqual(['films']);
    expect(wordNet.synonymsOf('occurred')).toEqual(['happened']);
    const change = replacing(wordNet);
    expect(change('Which movie has the largest budget?')).toBe('Which film has the biggest budget?');
    expect(change('This is difficult; that is more difficult.')).toBe('This is hard; that is more difficult.');
    expect(change('They use big data, by and large.')).toBe('They use big data, by and large.');
  });

  test('every common word has other words, and none is a word of grammar', () => {
    for (const [word, synonyms] of commonSynonyms) {
      expect(synonyms.length, word).toBeGreaterThan(0);
      expect(synonyms, word).not.toContain(word);
      expect(isFunctionWord(word), word).toBe(false);
    }
    expect(commonSynonyms.size).toBeGreaterThan(150);
  });

  test('knows names and expressions', () => {
    expect(wordNet.isName('java')).toBe(true);
    expect(wordNet.isName('parcel')).toBe(false);
    expect(wordNet.isExpression(['real', 'estate'])).toBe(true);
    expect(wordNet.isExpression(['real', 'parcel'])).toBe(false);
  });

  test('does not change expressions, definitions and articles that would not fit', () => {
    const change = replacing(wordNet);
    expect(change('The physician called.')).toBe('The doctor called.');
    expect(change('What is a physician?')).toBe('What is a physician?');
    expect(change('He has a big heart and a big house.')).toBe('He has a large heart and a large house.');
    expect(change('The big bang was loud.')).toContain('big bang');
  });
});

test.each([
  ['stop', 'past', 'stopped'],
  ['help', 'progressive', 'helping'],
  ['try', 'third person', 'tries'],
  ['try', 'past', 'tried'],
  ['make', 'progressive', 'making'],
  ['see', 'progressive', 'seeing'],
  ['lie', 'progressive', 'lying'],
  ['box', 'plural', 'boxes'],
  ['city', 'plural', 'cities'],
  ['begin', 'past', null],
  ['visit', 'past', null],
  ['wife', 'plural', null],
] as const)('the inflection of %s in the %s is %s', (word, inflection, form) => {
  expect(inflect(word, inflection)).toBe(form);
});

describe('a dictionary', () => {
  test('is read from a JSON or tab-separated file, with a byte-order mark and any line ends', async () => {
    const folder = temporaryFolder();
    expect(await readDictionary(writeInto(folder, 'a.json', '{"Big": ["large", "huge"]}'))).toEqual(
      new Map([['big', ['large', 'huge']]]),
    );
    const entries = new Map([
      ['big', ['large', 'very large']],
      ['快递', ['包裹', '邮包']],
    ]);
    for (const [name, text] of [
      ['b.tsv', '# English\nbig\tlarge, very large\n\n快递\t包裹、邮包\n'],
      ['c.tsv', '\uFEFFBig\tlarge,very large\r\n快递\t包裹，邮包\r\n'],
      ['d.tsv', 'big\tlarge,very large\r快递\t包裹,邮包'],
    ] as const)
      expect(await readDictionary(writeInto(folder, name, text))).toEqual(entries);
  });

  test.each([
    ['职业\t活儿 工作', 1, /"活儿 工作" has a space; separate synonyms by commas/],
    ['big\tlarge\n职业 活儿', 2, /"职业 活儿" has no tab/],
    ['big\tlarge\nBIG\thuge', 2, /the word "big" occurs twice/],
    ['big\t', 1, /a synonym of "big" is empty/],
    ['big\tlarge,,huge', 1, /a synonym of "big" is empty/],
    ['\tlarge', 1, /the word is empty/],
    ['big\tlarge\thuge', 1, /more than one tab/],
    ['big\tBig', 1, /"big" is its own synonym/],
    ['big\tlarge, large', 1, /a synonym of "big" occurs twice/],
    ['{"big": 1}', undefined, /the entry "big" is not a list of words/],
    ['{"big": []}', undefined, /a synonym of "big" is empty/],
  ])('with a problem is an error with its line: %j', async (text, line, message) => {
    await expect(readDictionary(writeInto(temporaryFolder(), 'a.txt', text))).rejects.toMatchObject({
      code: 'FILE_UNREADABLE',
      place: { line },
      problems: [{ message: expect.stringMatching(message) as string }],
    });
  });

  test.each(['', '\n\n', '{}', '{', '["a"]x'])(
    'that has no words or is not a dictionary is an error: %j',
    async (text) => {
      await expect(readDictionary(writeInto(temporaryFolder(), 'a.txt', text))).rejects.toMatchObject({
        code: 'FILE_UNREADABLE',
      });
    },
  );
});

describe('copies', () => {
  test('have the same origin, are deterministic, and are never made from a copy', async () => {
    const transform = createSynonymTransform({ rate: 1 }, { words });
    const conversations = [chat('Where is my parcel?', 'It comes.'), chat('Hello', 'Hi')];
    const result = await run(conversations, transform);
    expect(result.map(contents)).toEqual([
      ['Where is my parcel?', 'It comes.'],
      ['Where is my package?', 'It comes.'],
      ['Hello', 'Hi'],
    ]);
    expect(result[1]).toMatchObject({ origin: { line: 1 }, columns: { augmentation: 'synonyms' } });
    expect(await run(conversations, transform)).toEqual(result);
    expect(transform.report).toMatchObject({
      conversationsIn: 2,
      conversationsOut: 3,
      changed: { added: 1, 'rejected: unchanged': 1 },
    });
    expect(transform.trainOnly).toBe(true);
    // The copy of the first conversation exists already.
    expect(await run(result, createSynonymTransform({ rate: 1 }, { words }))).toHaveLength(3);
  });

  test('have at least one replaced word, if one can be replaced', async () => {
    const transform = createSynonymTransform({ rate: 0 }, { words });
    const result = await run([chat('A quick parcel', 'Yes.'), chat('Hello', 'Hi')], transform);
    expect(result).toHaveLength(3);
    expect(['A fast parcel', 'A quick package']).toContain(contents(result[1] as Conversation)[0]);
  });

  test('do not change the words of the topic: of columns, and common to a question and its answer', async () => {
    const topic = { ...chat('My parcel is quick', 'Good.'), columns: { topic: 'quick_things' } };
    const result = await run(
      [topic, chat('The quick parcel', 'Your parcels come.')],
      createSynonymTransform({ rate: 1 }, { words }),
    );
    expect(result.map((each) => contents(each)[0])).toEqual([
      'My parcel is quick',
      'My package is quick',
      'The quick parcel',
      'The fast parcel',
    ]);
  });

  test('are never equal to each other or to an earlier conversation', async () => {
    const transform = createSynonymTransform({ rate: 1, copies: 3 }, { words });
    const result = await run(
      [chat('My package', 'Yes.'), chat('My parcel', 'Yes.'), chat('My parcel', 'Yes.'), chat('Quick', 'Yes.')],
      transform,
    );
    const copies = result.filter(({ columns }) => columns?.['augmentation'] !== undefined);
    expect(copies.map((each) => contents(each)[0])).toEqual(['Fast']);
    // Three copies each of two conversations equal the first one; two of "Fast" equal the third.
    expect(transform.report.changed).toEqual({ added: 1, 'rejected: unchanged': 3, 'rejected: repeated': 8 });
  });

  test('of messages of a role that no message has are reported', async () => {
    const warnings: string[] = [];
    const logger = { warn: (message: string) => void warnings.push(message) };
    const transform = createSynonymTransform({ roles: ['usr', 'assistant'] }, { words, logger });
    await run([chat('My parcel', 'Your parcel')], transform);
    expect(warnings).toEqual([
      'The role "usr" in the option roles of augment-synonyms has no effect: no message of the data has it ' +
        '(found: "user", "assistant"). Did you mean \'user\'?',
    ]);
  });

  test('of Chinese text need a dictionary, which is reported', async () => {
    const warnings: string[] = [];
    const logger = { warn: (message: string) => void warnings.push(message) };
    const transform = createSynonymTransform({ rate: 1 }, { logger });
    expect(await run([chat('我的快递在哪里？', '在路上。')], transform)).toHaveLength(1);
    expect(transform.report.changed).toEqual({ 'rejected: needs a dictionary': 1 });
    expect(warnings).toEqual([expect.stringContaining('Set "dictionary" to a file')]);
    expect(
      await run([chat('我的快递在哪里？', '在路上。')], createSynonymTransform({ rate: 1 }, { words })),
    ).toHaveLength(2);
  });

  test('are rejected by a model if their loss rises too much, and counted', async () => {
    const measured: (readonly (string | undefined)[])[] = [];
    let disposed = 0;
    // The loss is 1, and 2 more with the word "fast".
    const openLossMeter = async (model: string | null) => {
      expect(model).toBeNull();
      return {
        measure: async (conversations: readonly Conversation[]) => {
          measured.push(conversations.flatMap(({ messages }) => messages.map(({ train }) => String(train))));
          return conversations.map(({ messages }) => (/fast/i.test(String(messages[0]?.content)) ? 3 : 1));
        },
        dispose: () => void disposed++,
      };
    };
    const transform = createSynonymTransform({ rate: 1, maxLossIncrease: 1.5 }, { words, openLossMeter });
    const result = await run([chat('My parcel', 'Yes.'), chat('So quick', 'Yes.')], transform);
    expect(result.map((each) => contents(each)[0])).toEqual(['My parcel', 'My package', 'So quick']);
    expect(transform.report.changed).toEqual({ added: 1, 'rejected: loss': 1 });
    // Only the messages that can change are measured.
    expect(measured[0]).toEqual(['true', 'false', 'true', 'false']);
    expect(disposed).toBe(1);
    await expect(
      run([chat('My parcel', 'Yes.')], createSynonymTransform({ rate: 1, maxLossIncrease: 1 }, { words })),
    ).rejects.toMatchObject({ code: 'PLUGIN_FAILED' });
  });
});
